"""The gallery: real defects of saving and resuming, each a few lines planted in a run, with what a check must find."""
