"""How the body of a request to /classify is read; test_serving.py asks a running server."""

import pytest

from rolekd.registry import photos

_FORM = (
    b'--Line\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n'
    b"Content-Type: image/png\r\n\r\nPIXELS\r\n--Line--\r\n"
)


@pytest.mark.parametrize("value", ["image/png", "IMAGE/PNG; x=y", "Image/Jpeg", " image/png ;x"])
def test_types_of_images_are_accepted_in_any_case(value):
    photos.check_type(value)
    assert photos.parse(b"PIXELS", value) == [photos.Photo("", b"PIXELS")]


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "Multipart/Form-Data", "MULTIPART/FORM-DATA"]
)
def test_a_form_is_one_in_any_case(kind):
    value = f"{kind}; Boundary=Line"
    photos.check_type(value)
    assert photos.parse(_FORM, value) == [photos.Photo("a.png", b"PIXELS")]


@pytest.mark.parametrize(
    "value", ["", "text/plain", "application/json", "imagery/png", "x; image/png"]
)
def test_other_types_are_refused(value):
    with pytest.raises(ValueError, match="send image/jpeg, image/png or multipart/form-data"):
        photos.check_type(value)
