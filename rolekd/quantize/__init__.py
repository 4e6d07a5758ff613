"""Low-bit networks: quantisers, conversion of float models, integer-valued evaluation."""
