"""Files and folders, here or on a hub -> a Checkpoint: containers, pickles, wrappers, folders of training."""
