"""A layer file and a parameter file that every dialect reads, in pieces."""

from __future__ import annotations

DATA = "[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n"
CONV = "[conv]\ntype=conv\ninputs=data\nchannels=3\nfilters=16\nfilterSize=5\ninitW=0.01\npartialSum=0\nsumWidth=1\ngpu=0\n"
TOP = (
    "[fc]\ntype=fc\ninputs={}\noutputs=10\ninitW=0.01\ngpu=0\n"
    "[probs]\ntype=softmax\ninputs=fc\n[logprob]\ntype=cost.logreg\ninputs=labels,probs\ngpu=0\n"
)
RATES = "epsW=0.001\nepsB=0.002\nmomW=0.9\nmomB=0.9\nwc=0.004\n"
PARAMS = f"[conv]\n{RATES}[fc]\n{RATES}[logprob]\ncoeff=1\n"
