"""An experiment, how it is trained, and the record that its run leaves behind."""
