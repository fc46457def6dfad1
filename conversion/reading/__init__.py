"""Files and folders, local or on a hub -> a Checkpoint: containers, pickles, wrappers, training folders."""
