"""The shared trainer: runs any compiled spec by the rule of the paper. `trainer.train` sets a run up, `loop` runs it.

Nothing is imported here, so that the command line can name `convspec.train` without loading torch.
"""
