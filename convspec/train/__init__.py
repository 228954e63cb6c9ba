"""The shared trainer: runs any compiled spec by the rule of the paper. `trainer.train` reads top to bottom.

Nothing is imported here, so that the command line can name `convspec.train` without loading torch.
"""
