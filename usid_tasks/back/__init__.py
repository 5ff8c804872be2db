"""The way back: a store that usid published, as the HDF5 file that it was made of."""
