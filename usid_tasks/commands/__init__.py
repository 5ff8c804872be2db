"""The commands of ``usid``, one module each; everything heavy is imported when one runs."""
