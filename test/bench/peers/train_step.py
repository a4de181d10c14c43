"""Trains the network of a job folder with PyTorch, one thread, on command.

usage: train_step.py JOB LAYOUT, where LAYOUT is `contiguous` or `channels_last`

JOB/job.json describes the graph, JOB/tensors.bin holds its float32 tensors, the samples and the labels. For each line
`N` on standard input, N steps are run and a line of JSON is printed: milliseconds of each by the clock and of the
processor, the last loss, what autograd saves for the way back, and the peak resident set, both in MiB.
"""
import json
import resource
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F


def load(folder):
    with open(f"{folder}/job.json") as file:
        job = json.load(file)
    raw = np.fromfile(f"{folder}/tensors.bin", np.float32)
    tensors = {}
    for name, place in job["tensors"].items():
        count = int(np.prod(place["dims"]))
        tensors[name] = torch.from_numpy(raw[place["at"] : place["at"] + count].reshape(place["dims"]).copy())
    return job, tensors


def pads(node, rank):
    given = node["attributes"].get("pads", [0] * (2 * rank))
    begin, end = given[:rank], given[rank:]
    return begin, end


def padded(x, node, rank):
    """PyTorch pads both sides of an axis alike; what differs is padded apart."""
    begin, end = pads(node, rank)
    if begin == end:
        return x, begin
    both = [pad for axis in reversed(range(rank)) for pad in (begin[axis], end[axis])]
    return F.pad(x, both), [0] * rank


def convolution(node, x, weight, bias=None):
    attributes = node["attributes"]
    rank = weight.dim() - 2
    x, padding = padded(x, node, rank)
    return (F.conv1d if rank == 1 else F.conv2d)(
        x, weight, bias, attributes.get("strides", [1] * rank), padding,
        attributes.get("dilations", [1] * rank), attributes.get("group", 1))


def gemm(node, a, b, c):
    attributes = node["attributes"]
    a = a.t() if attributes.get("transA", 0) else a
    return F.linear(a, b if attributes.get("transB", 0) else b.t(), c)


def clip(node, x, low, high):
    return F.hardtanh(x, float(low), float(high))


OPERATORS = {
    "Conv": convolution,
    "Gemm": gemm,
    "Clip": clip,
    "Relu": lambda node, x: F.relu(x),
    "Add": lambda node, a, b: a + b,
    "GlobalAveragePool": lambda node, x: x.mean((2, 3), keepdim=True),
    "Flatten": lambda node, x: x.flatten(node["attributes"].get("axis", 1)),
}


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def saved_mib(step, known):
    """MiB that autograd keeps for the way back in one step, beside the tensors `known`, and the step's loss."""
    known = {tensor.untyped_storage().data_ptr() for tensor in known}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = step()
    return sum(kept.values()) / 2**20, loss


def main(folder, layout):
    torch.set_num_threads(1)
    job, tensors = load(folder)
    form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    laid = lambda tensor: tensor.contiguous(memory_format=form) if tensor.dim() == 4 else tensor
    values = {name: laid(tensor) for name, tensor in tensors.items()}
    parameters = [values[name].requires_grad_() for name in job["trained"]]
    labels = values.pop("labels").long()
    optimizer = torch.optim.SGD(parameters, lr=job["learningRate"], momentum=job["momentum"], foreach=True)

    def step():
        live = dict(values)
        for node in job["nodes"]:
            inputs = [live[name] for name in node["inputs"]]
            live[node["outputs"][0]] = OPERATORS[node["opType"]](node, *inputs)
        loss = F.cross_entropy(live[job["output"]], labels)
        del live
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    print(json.dumps({"peakMib": peak_mib()}), flush=True)
    saved = None
    for line in sys.stdin:
        wall, processor = [], []
        for _ in range(int(line)):
            started, used = time.perf_counter(), time.process_time()
            if saved is None:
                saved, loss = saved_mib(step, values.values())
            else:
                loss = step()
            wall.append((time.perf_counter() - started) * 1e3)
            processor.append((time.process_time() - used) * 1e3)
        answer = {"wallMs": wall, "cpuMs": processor, "loss": loss.item(), "savedMib": saved, "peakMib": peak_mib()}
        print(json.dumps(answer), flush=True)


main(*sys.argv[1:])
