"""The classifier with its cost, and the costs beside it with the layers that they judge."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from convspec.testing.net import Keys, Net, Value, maps_of


def add_classifier(net: Net, leaves: Sequence[Value], classes: int, suffix: str, coefficient: str) -> None:
    """Scores of the classes over `leaves`, softmax and cost."""
    gpu = net.limits.gpus(0)
    keys = {"type": "fc", "outputs": str(classes)}
    dims: tuple[int, ...] = (classes,)
    sides = set(leaves[0].dims[1:])
    if len(leaves) == 1 and len(sides) == 1 and "conv" in net.limits.types and net.draw(st.booleans()):
        # A kernel as large as the map gives a pixel a class.
        keys, dims = {"type": "conv", "filters": str(classes), "filterSize": str(*sides)}, (classes, 1, 1)
    scores = net.add(f"scores{suffix}", dims, leaves, {**keys, **gpu})
    probabilities = net.add(f"probs{suffix}", (classes,), [scores], {"type": "softmax"})
    top_k = net.draw(st.integers(1, classes))
    keys = {"type": "cost.logreg", "inputs": f"labels,{probabilities.name}", "coeff": coefficient, "topk": str(top_k)}
    net.write(f"cost{suffix}", {**keys, **gpu})
    for value in (scores, probabilities):
        net.unread.pop(value.name, None)


def add_second_cost(net: Net, classes: int) -> None:
    """Any cost, over one of the values in between."""
    draw = net.draw
    kind, coefficient = draw(st.sampled_from(net.limits.costs)), draw(st.sampled_from(["0.3", "0"]))
    value = draw(st.sampled_from(net.stages))[0]
    if kind == "cost.logreg":
        add_classifier(net, [value], classes, "2", coefficient)
        return
    inputs, keys = _judged(net, kind, value, classes)
    gpu = net.limits.gpus(0)
    net.write("cost2", {"type": kind, "inputs": ",".join(inputs), "coeff": coefficient, **keys, **gpu})


def _judged(net: Net, kind: str, value: Value, classes: int) -> tuple[list[str], Keys]:
    """What a cost reads, and the keys that only it has; its targets and all that judges are written first."""
    match kind:
        case "cost.sum2":
            return [value.name], {}
        case "cost.tica":
            _, keys = maps_of(net, value)
            return [value.name], {**keys, "sizeX": str(net.draw(st.integers(1, 4)))}
        case "cost.gsum2":
            return [_scores(net, "scores2", value, 1), value.name], {}
        case "cost.msm":
            size = net.draw(st.integers(1, classes - 1))
            return ["labels", _scores(net, "scores2", value, classes)], {"setSize": str(size)}
        case _:
            net.write("tags", {"type": "data", "dataIdx": "2"})
            return _compared(net, kind, value, classes)


def _compared(net: Net, kind: str, value: Value, classes: int) -> tuple[list[str], Keys]:
    """The same for costs that compare outputs with `tags`."""
    if kind == "cost.crossent":
        scores = _scores(net, "scores2", value, classes)
        net.write("probs2", {"type": "softmax", "inputs": scores})
        return ["tags", "probs2"], {}
    # Outputs that do not come near 0 or 1, where logarithms lose their digits.
    hidden = Value(_scores(net, "scores2_hidden", value, 3, neuron="tanh[1,1]"), (3,))
    outputs = _scores(net, "scores2", hidden, classes, neuron="logistic")
    weight = {"posWeight": net.draw(st.sampled_from(["1", "2.5"]))} if kind in ("cost.bce", "cost.dce") else {}
    return ["tags", outputs], weight


def _scores(net: Net, name: str, value: Value, outputs: int, **keys: str) -> str:
    """An fc layer that no other layer than the second cost's reads."""
    gpu = net.limits.gpus(0)
    net.add(name, (outputs,), [value], {"type": "fc", "outputs": str(outputs), **keys, **gpu})
    net.unread.pop(name)
    return name
