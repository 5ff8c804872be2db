"""h5USID files written: a signal becomes a Measurement, in a new file or beside former ones."""
