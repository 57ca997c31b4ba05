"""What pools a bag of crops, beside its publication's formulas written plainly, one bag at a time.

    python benchmarks/pooling.py [--crops 2000] [--dims 512] [--bags 1] [--repeats 15] [--json pooling.json]

Forward and backward, CPU seconds, in turn, the same layers and weights on both sides; the plain side takes
bag after bag, as the authors' training loops do. `apart` is the largest difference of the logits in
evaluation mode, of the largest logit. TransMIL's plain side pads with zero tokens, as its authors do, which
is another answer unless the landmarks divide the tokens.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, layer_norm, pad

from zoomin.baselines.abmil import ABMILConfig
from zoomin.baselines.abmilx import ABMILXConfig
from zoomin.baselines.bags import BagConfig, Bags
from zoomin.baselines.clam import CLAMConfig
from zoomin.baselines.dsmil import DSMILConfig
from zoomin.baselines.ips import CrossAttention
from zoomin.baselines.transmil import TransMILConfig
from zoomin.classifiers import build

Network = Any  # a baseline; its layers are its own
Answer = tuple[Tensor, Tensor | float]  # logits, and what is added to the cross-entropy


def abmil(net: Network, h: Tensor, label: int) -> Answer:
    """Ilse et al., equations 8 and 9."""
    inner = net.attention.v(h).tanh()
    if net.attention.u is not None:
        inner = inner * net.attention.u(h).sigmoid()
    a = net.attention.w(inner).T.softmax(1)
    return net.head(a @ h), 0.0


def clam(net: Network, h: Tensor, label: int) -> Answer:
    """Lu et al., single branch: only the crops of highest and lowest attention are told apart."""
    h = net.first(h)
    drop = net.attention.dropout
    a = net.attention.w(drop(net.attention.v(h).tanh()) * drop(net.attention.u(h).sigmoid())).T
    k = net.config.instances
    chosen = torch.cat([h[a[0].topk(k).indices], h[(-a[0]).topk(k).indices]])
    rows = slice(2 * label, 2 * label + 2)
    scores = chosen @ net.judges.weight[rows].T + net.judges.bias[rows]
    target = torch.arange(2 * k) < k
    wrong = torch.stack([target, ~target], 1)
    smooth = (scores + wrong).logsumexp(1) - scores[torch.arange(2 * k), target.long()]
    weight = (1 - net.config.bag_weight) / net.config.bag_weight
    return net.head(a.softmax(1) @ h), weight * smooth.mean()


def dsmil(net: Network, h: Tensor, label: int) -> Answer:
    """Li et al., equations 2 to 6."""
    scores = net.scores(h)
    queries = net.query(h)
    critical = net.query(h[scores.argmax(0)])
    a = (queries @ critical.T / math.sqrt(queries.shape[1])).softmax(0)
    bag = (a.T @ net.value(h)).flatten()
    return net.head(bag)[None], cross_entropy(scores.amax(0)[None], torch.tensor([label]))


def transmil(net: Network, h: Tensor, label: int) -> Answer:
    """Shao et al., algorithms 1 to 3, with tokens of zeros before the others until m divides their number."""
    h = net.first(h)
    side = math.isqrt(len(h) - 1) + 1
    h = torch.cat([net.token[None], h, h[: side**2 - len(h)]])
    h = h + _nystrom(net.attention_1[1], net.attention_1[0](h))
    square = h[1:].T.unflatten(1, (side, side))[None]
    places = square + sum(convolution(square) for convolution in net.places.convolutions)
    h = torch.cat([h[:1], places[0].flatten(1).T])
    h = h + _nystrom(net.attention_2[1], net.attention_2[0](h))
    return net.head(net.norm(h)[:1]), 0.0


def _nystrom(layer: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401 (a layer, whose parts are its own)
    n, m, heads = len(tokens), layer.landmarks, layer.heads
    tokens = pad(tokens, (0, 0, -n % m, 0))
    q, k, v = layer.to_qkv(tokens).unflatten(1, (3, heads, -1)).permute(1, 2, 0, 3)
    q = q / math.sqrt(q.shape[2])
    few_q, few_k = (part.unflatten(1, (m, -1)).mean(2) for part in (q, k))
    to_few, from_few = (q @ few_k.mT).softmax(2), (few_q @ k.mT).softmax(2)
    among = (few_q @ few_k.mT).softmax(2)
    size = among.abs()
    z = among.mT / (size.sum(-1).max() * size.sum(-2).max())
    one = torch.eye(m)
    for _ in range(6):
        az = among @ z
        z = 0.25 * z @ (13 * one - az @ (15 * one - az @ (7 * one - az)))
    read = to_few @ z @ (from_few @ v) + layer.beside(v)
    out: Tensor = layer.out(read.transpose(0, 1).flatten(1))[-n:]
    return out


def abmilx(net: Network, h: Tensor, label: int) -> Answer:
    """Tang et al., with the softmax over all pairs of crops."""
    z = net.first(h).unflatten(1, (net.config.heads, -1)).transpose(0, 1)[None]
    logits = net.local(z)
    q, k = net.plus.to_query_key(net.plus.norm(z)).chunk(2, dim=3)
    alike = (q @ k.mT / math.sqrt(q.shape[3])).softmax(3)
    logits = logits + alike @ net.plus.scale(logits)
    features = net.project((logits.softmax(2).mT @ z).flatten())
    features = features + net.mlp(features)
    return net.head(net.norm(features))[None], 0.0


PLAIN: dict[str, tuple[type[BagConfig], dict[str, Any], Callable[[Network, Tensor, int], Answer]]] = {
    "abmil": (ABMILConfig, {}, abmil),
    "abmil, gated": (ABMILConfig, {"gated": True}, abmil),
    "clam": (CLAMConfig, {}, clam),
    "dsmil": (DSMILConfig, {}, dsmil),
    "transmil": (TransMILConfig, {}, transmil),
    "abmilx": (ABMILXConfig, {}, abmilx),
}


def compare(name: str, crops: int, dims: int, bags: int, repeats: int) -> dict[str, float]:
    """CPU milliseconds of both sides, their ratio, and how far answers are apart."""
    settings, how, plain = PLAIN[name]
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(torch.zeros(4, dims), Path(folder) / "a.pt")
        net: Network = build(settings(features=f"stored:{folder}", **how))
    h = torch.randn(bags * crops, dims)
    image = torch.arange(bags).repeat_interleave(crops)
    labels = torch.arange(bags) % 2

    def ours() -> Tensor:
        pooled = net.pool(Bags.of(h, image, bags), labels)
        logits: Tensor = net.head(pooled.features)
        (cross_entropy(logits, labels) + pooled.penalty).backward()
        return logits

    def theirs() -> Tensor:
        found = []
        for bag, label in zip(h.split(crops), labels, strict=True):
            logits, penalty = plain(net, bag, int(label))
            (cross_entropy(logits, label[None]) + penalty).backward()
            found.append(logits)
        return torch.cat(found)

    net.eval()
    one, other = ours().detach(), theirs().detach()
    apart = float((one - other).abs().max() / other.abs().max())
    net.train()
    return {**in_turn(ours, theirs, repeats), "apart": apart}


def in_turn(ours: Callable[[], Tensor], theirs: Callable[[], Tensor], repeats: int) -> dict[str, float]:
    """Median CPU milliseconds of two sides, run in turn, and the median and range of the ratios."""
    spent: list[tuple[float, float]] = []
    for _ in range(repeats + 1):
        times = []
        for side in (ours, theirs):
            start = time.process_time()
            side()
            times.append(1e3 * (time.process_time() - start))
        spent.append((times[0], times[1]))
    ratios = [mine / plain for mine, plain in spent[1:]]
    mine, plain = (statistics.median(pair[which] for pair in spent[1:]) for which in (0, 1))
    found = {"ours_ms": mine, "plain_ms": plain, "ratio": statistics.median(ratios)}
    return {**found, "least": min(ratios), "most": max(ratios)}


def cross_attention(crops: int, dims: int, repeats: int) -> dict[str, float]:
    """IPS: the scoring of all tiles and the attention to them, beside the same written plainly."""
    torch.manual_seed(0)
    net, h = CrossAttention(dims, 8, 64, 0.1), torch.randn(1, crops, dims)
    inside = torch.ones(1, crops, dtype=torch.bool)

    def ours() -> Tensor:
        found: Tensor = net(h, inside)
        found.sum().backward()
        return found

    def theirs() -> Tensor:
        q = net.to_query(net.query).view(1, 8, 1, 64)
        k, v = (layer(h).view(1, crops, 8, 64).transpose(1, 2) for layer in (net.to_keys, net.to_values))
        a = net.dropout((q @ k.mT / 8).softmax(3))
        x = net.dropout(net.out((a @ v).transpose(1, 2).flatten(2)))[:, 0] + net.query
        x = layer_norm(x, (dims,), net.norm_1.weight, net.norm_1.bias, 1e-6)
        x = x + net.dropout(net.inner(x))
        x = layer_norm(x, (dims,), net.norm_2.weight, net.norm_2.bias, 1e-6)
        x.sum().backward()
        return x

    net.eval()
    apart = float((ours() - theirs()).detach().abs().max())
    net.train()
    return {**in_turn(ours, theirs, repeats), "apart": apart}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print a table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--crops", type=int, default=2000, help="of a bag")
    parser.add_argument("--dims", type=int, default=512, help="features of a crop")
    parser.add_argument("--bags", type=int, default=1, help="in a batch; the plain side takes one by one")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=[*PLAIN, "ips"], default=[*PLAIN, "ips"])
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    print("| | ours, ms | plainly, ms | ratio (least to most) | apart |\n| --- | ---: | ---: | --- | ---: |")
    found = {}
    for name in chosen.only:
        if name == "ips":
            one = cross_attention(chosen.crops, chosen.dims, chosen.repeats)
        else:
            one = compare(name, chosen.crops, chosen.dims, chosen.bags, chosen.repeats)
        found[name] = one
        print(
            f"| {name} | {one['ours_ms']:.1f} | {one['plain_ms']:.1f} | **{one['ratio']:.2f}** "
            f"({one['least']:.2f} to {one['most']:.2f}) | {one['apart']:.0e} |",
            flush=True,
        )
    print(f"load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
