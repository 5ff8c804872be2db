"""Where results came from: fingerprints of sources, records of runs, and the chain between them."""
