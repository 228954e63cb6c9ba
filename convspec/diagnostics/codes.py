"""The table of diagnostics: every code, its severity and its title. The page of each is `explanations/CODE.md`.

Codes are stable: a number is never used again for something else. Hundreds group them by the stage that finds them.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Code(NamedTuple):
    title: str
    severity: Severity = Severity.ERROR


_W = Severity.WARNING
_N = Severity.NOTE

CODES: dict[str, Code] = {
    # 1xx: reading files, and the structure of a file
    "CS101": Code("a file cannot be read"),
    "CS102": Code("not a text file"),
    "CS103": Code("a line that is neither a section, a key nor a comment"),
    "CS104": Code("a key before the first section"),
    "CS105": Code("a section header without a bracket, or without a name"),
    "CS106": Code("a section that stands twice", _W),
    "CS107": Code("a key that stands twice in one section", _W),
    "CS108": Code("text after a section header", _W),
    "CS109": Code("an unknown section that starts with @"),
    "CS110": Code("a file without layers"),
    "CS111": Code("an indented line before any key"),
    "CS112": Code("a parameter file that cannot be found"),
    "CS113": Code("files that extend one another without end"),
    "CS114": Code("a file that is there already"),
    "CS119": Code("a byte order mark before a file of the original programs"),
    "CS120": Code("a template that cannot be used"),
    "CS121": Code("templates that stand in one another without end"),
    "CS122": Code("more layers than templates can make"),
    "CS123": Code("a parameter that its template does not have"),
    "CS124": Code("a name that is taken by a layer that is made"),
    # 2xx: keys and values of one section
    "CS201": Code("a section without a type"),
    "CS202": Code("an unknown layer type"),
    "CS203": Code("a required key is missing"),
    "CS204": Code("a value that is not of the key's form"),
    "CS205": Code("a value out of its range"),
    "CS206": Code("a list of the wrong length"),
    "CS207": Code("a key that nothing reads", _W),
    "CS208": Code("a key in the wrong file", _W),
    "CS209": Code("parameters for a layer that does not exist", _W),
    "CS210": Code("an unknown neuron"),
    "CS211": Code("an unknown schedule"),
    "CS212": Code("a value that is none of the choices"),
    "CS213": Code("an override that names nothing"),
    "CS214": Code("a key that has no effect today", _N),
    "CS215": Code("a learning rate below 0", _W),
    "CS216": Code("two schedules for one rate"),
    "CS217": Code("a key of learning that the 2012 code reads otherwise or refuses", _N),
    "CS218": Code("a least spread of filters above the most"),
    "CS219": Code("a function of initial values that cannot be called so"),
    "CS220": Code("initial values that come from elsewhere", _N),
    "CS221": Code("a value that the program took, and that makes no sense", _W),
    "CS229": Code("a reference to another key that leads nowhere"),
    # 3xx: the graph
    "CS301": Code("an input that does not exist"),
    "CS302": Code("layers that read one another in a cycle"),
    "CS303": Code("the wrong number of inputs"),
    "CS304": Code("a layer that nothing reads"),
    "CS305": Code("an input of the wrong type"),
    "CS306": Code("an input that stands twice", _W),
    "CS307": Code("a layer that cannot be taken out"),
    "CS308": Code("a layer that cannot stand where it says"),
    "CS309": Code("weights of a layer or an input that does not exist"),
    "CS310": Code("weights of a layer of another type"),
    "CS311": Code("a layer without a gradient above one that learns"),
    "CS312": Code("a layer that two others pass on"),
    "CS315": Code("a child of a cost that cannot be one"),
    "CS316": Code("a cost of outputs that need not lie between 0 and 1", _W),
    "CS317": Code("weights without an owner"),
    "CS319": Code("an input that stands below the layer that reads it"),
    # 4xx: shapes
    "CS401": Code("the size of an input is not known"),
    "CS402": Code("a size that does not agree with what the input gives"),
    "CS403": Code("a window larger than the padded map"),
    "CS404": Code("features that do not divide into square maps"),
    "CS405": Code("channels or filters that do not divide into groups"),
    "CS406": Code("inputs whose sizes differ"),
    "CS407": Code("a window with no pixel inside the map"),
    "CS408": Code("a window across more channels than there are"),
    "CS409": Code("rounding up and rounding down differ", _N),
    "CS410": Code("fewer classes than top-k or a set of classes asks for"),
    "CS411": Code("a network too large to count"),
    "CS412": Code("windows that do not cover the map"),
    "CS413": Code("channels that cannot be drawn at random"),
    "CS414": Code("shared weights of different sizes"),
    "CS415": Code("a tree of classes that is none"),
    "CS416": Code("a claim about a size that is wrong"),
    "CS418": Code("a layer whose size cannot be looked for"),
    "CS419": Code("costs with classes of their own", _N),
    # 5xx: which GPU holds what, and what the old kernels could run
    "CS501": Code("a layer above the data that names no GPU"),
    "CS502": Code("a GPU that is named twice"),
    "CS503": Code("numbers of replicas that do not fit together"),
    "CS504": Code("a GPU beyond those that there are"),
    "CS505": Code("layers that step several times a minibatch in cuda-convnet2", _N),
    "CS506": Code("weights that are shared across GPUs"),
    "CS510": Code("a limit of the old kernels", _W),
    "CS511": Code("a layer that computes what was meant, and not what the program did", _N),
    # 6xx: compiling
    "CS601": Code("an output that is not a layer"),
    "CS602": Code("a network without anything to train"),
    "CS604": Code("a part of the language that has no public source"),
    "CS605": Code("code that training would import"),
    "CS606": Code("a tree of classes that nobody gave"),
    "CS607": Code("shared weights whose rates part"),
    # 7xx: data and training
    "CS701": Code("a dataset that cannot be found"),
    "CS702": Code("a dataset folder without images"),
    "CS703": Code("a broken image"),
    "CS704": Code("classes of the data that do not fit the network"),
    "CS705": Code("images smaller than the input of the network"),
    "CS706": Code("a run folder that cannot be written"),
    "CS707": Code("a loss that is not finite"),
    "CS708": Code("a checkpoint that cannot be read"),
    "CS709": Code("a run that does not fit the spec"),
    "CS710": Code("a device that is not there"),
    "CS711": Code("a disk that is full"),
    "CS712": Code("no dataset was named", _N),
    "CS713": Code("an input of a shape that pictures do not have"),
    "CS714": Code("bf16 on a processor without instructions for it", _N),
    "CS715": Code("a minibatch too small for batch normalisation"),
    "CS716": Code("an initial value that cannot be copied"),
    "CS717": Code("a function of initial values that fails"),
    "CS718": Code("too little memory"),
    "CS719": Code("a run that cannot be found"),
    "CS720": Code("an old file that cannot be read"),
    "CS721": Code("a file that is no checkpoint of the original programs"),
    "CS722": Code("weights that do not fit their layers"),
    "CS723": Code("data batches that do not fit together"),
    "CS724": Code("a prepared folder that is damaged"),
    "CS725": Code("an archive that cannot be read"),
    "CS726": Code("a folder that pictures cannot be prepared into"),
    "CS730": Code("a data layer of which no dataset has the data"),
    "CS731": Code("colour noise without colours", _N),
    "CS732": Code("pictures that do not come", _W),
    "CS735": Code("specs that cannot be compared"),
    "CS740": Code("a network that predicts no classes"),
    "CS741": Code("runs that cannot be averaged"),
    "CS742": Code("a run that starts from another's weights", _N),
    "CS750": Code("devices that are not those of the spec"),
    "CS753": Code("processes that do not fit the spec"),
    "CS754": Code("processes that have different things before them"),
    "CS755": Code("a process that was lost"),
    # 8xx: this installation
    "CS801": Code("a part that is not installed"),
    "CS802": Code("a diagnostic code that does not exist"),
    "CS803": Code("kernels that cannot be had"),
}

# What the codes of a hundred are about, by their first digit.
GROUPS: dict[str, str] = {
    "1": "reading files, and the structure of a file",
    "2": "keys and values of one section",
    "3": "the graph",
    "4": "shapes",
    "5": "which GPU holds what, and what the old kernels could run",
    "6": "compiling",
    "7": "data and training",
    "8": "this installation",
}
