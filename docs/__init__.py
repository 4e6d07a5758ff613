"""The pages, and what is made of them and for them: the reference from the code, the site."""
