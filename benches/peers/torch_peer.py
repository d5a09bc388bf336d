"""The training step in PyTorch, as a peer to time this project's against.

    python torch_peer.py CASE plain|compiled MODELS STEPS REPEATS
    python torch_peer.py check [CONFORMANCE.h5]

`plain` is one model, run eagerly; `compiled` is the same with the loss and its gradient through torch.compile, which needs a C++ compiler. Adam is
PyTorch's own fused one. After a warm-up each repeat prints a line of JSON as soon as it is done. `check` holds logits, losses and a stretch of
training against the published implementation's. The cases are in cases.py.
"""

import cases  # First, since it starts the clock.

import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def linear(layer):
    made = nn.Linear(*layer["weight"].shape)
    made.weight = parameter(layer["weight"].T)
    made.bias = parameter(layer["bias"])
    return made


def norm(layer):
    made = nn.LayerNorm(len(layer["gain"]))
    made.weight, made.bias = parameter(layer["gain"]), parameter(layer["bias"])
    return made


def parameter(array):
    return nn.Parameter(torch.tensor(np.ascontiguousarray(array)))


class Block(nn.Module):
    def __init__(self, case, layers):
        super().__init__()
        self.case = case
        self.norm1 = norm(layers["norm1"])
        self.qkv, self.proj = parameter(layers["qkv"].T), parameter(layers["proj"].T)
        if case.mlp_ratio:
            self.norm2, self.fc1, self.fc2 = norm(layers["norm2"]), linear(layers["fc1"]), linear(layers["fc2"])
        if case.positions == "rope":
            cosine, sine = cases.rotations(case)
            self.register_buffer("cosine", torch.tensor(cosine))
            self.register_buffer("sine", torch.tensor(sine))

    def rotate(self, x):
        """Rotary positions, on [sequence, head, token, dimension]."""
        tokens = x.shape[2]
        cosine, sine = self.cosine[-tokens:], self.sine[-tokens:]
        even, odd = x[..., ::2], x[..., 1::2]
        return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2)

    def project(self, x, weight):
        """Projections [sequence, head, token, dimension], as many as the weight holds."""
        parts = F.linear(x, weight).unflatten(-1, (-1, self.case.heads, self.case.head_width))
        return parts.transpose(1, 3).unbind(2)

    def forward(self, x, query_alone):
        """The residual stream behind the block. Where the query alone is asked for, its row alone is computed."""
        width, normed = self.case.width, self.norm1(x)
        if query_alone:
            x = x[:, -1:]
            (q,) = self.project(normed[:, -1:], self.qkv[:width])
            k, v = self.project(normed, self.qkv[width:])
        else:
            q, k, v = self.project(normed, self.qkv)
        if self.case.positions == "rope":
            q, k = self.rotate(q), self.rotate(k)
        z = F.scaled_dot_product_attention(q, k, v, is_causal=not query_alone)
        x = x + F.linear(z.transpose(1, 2).flatten(-2), self.proj)
        if self.case.mlp_ratio:
            x = x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))
        return x


class Model(nn.Module):
    def __init__(self, case, parameters):
        super().__init__()
        self.case = case
        self.example = linear(parameters["example"])
        self.label = parameter(parameters["label"])
        self.blocks = nn.ModuleList(Block(case, block) for block in parameters["blocks"])
        self.norm = norm(parameters["norm"])
        self.unembed = linear(parameters["unembed"])
        if case.positions == "learned":
            self.positions = parameter(parameters["positions"])
        if case.positions == "sinusoidal":
            self.register_buffer("positions", torch.tensor(cases.sinusoids(case)))

    def forward(self, features, labels, query_alone):
        """Logits of features [sequence, pair, feature] and labels [sequence, pair] at the query alone, or at every example; the query's label is
        left out."""
        tokens = torch.stack([self.example(features), F.embedding(labels, self.label)], 2)
        x = tokens.flatten(1, 2)[:, : self.case.tokens]
        if self.case.positions != "rope":
            x = x + self.positions[: self.case.tokens]
        for block in self.blocks:
            x = block(x, query_alone and block is self.blocks[-1])
        return self.unembed(self.norm(x[:, -1] if query_alone else x[:, ::2]))


def trainer(case, parameters, bank, compiled=False):
    """A function that makes a step on a batch of classes and labels and returns the loss before it."""
    model = Model(case, parameters)
    adam = torch.optim.Adam(model.parameters(), lr=case.rate, fused=True)

    def query_loss(classes, labels):
        return F.cross_entropy(model(bank[classes], labels, query_alone=True), labels[:, -1])

    if compiled:
        query_loss = torch.compile(query_loss)

    def step(classes, labels):
        adam.zero_grad()
        loss = query_loss(classes, labels)
        loss.backward()
        adam.step()
        return loss.detach()

    return step


def indices(arrays):
    """Pairs of index tensors, one pair a batch."""
    return list(zip(*(torch.tensor(array, dtype=torch.int64).unbind() for array in arrays)))


def bench(name, form, models, steps, repeats):
    if models != 1:
        sys.exit("this peer trains one model at a time; many at once are a form of jax_peer.py")
    case = cases.CASES[name]
    step = trainer(case, cases.initial_parameters(case), torch.tensor(cases.random_bank(case)), form == "compiled")
    batches = indices(cases.draw(case, steps))

    def run():
        return torch.stack([step(*batch) for batch in batches])

    step(*batches[0])
    first = cases.since_start()
    run()
    cases.time_runs(
        run, repeats, steps, peer="torch", version=torch.__version__, case=name, form=form, models=models, first_step_seconds=first
    )


def logits(case, parameters, features, labels):
    with torch.no_grad():
        return Model(case, parameters)(torch.tensor(features), torch.tensor(labels), query_alone=False).numpy()


def losses(case, parameters, bank, classes, labels):
    step = trainer(case, parameters, torch.tensor(bank))
    return torch.stack([step(*batch) for batch in indices([classes, labels])]).numpy()


if __name__ == "__main__":
    match sys.argv[1:]:
        case "check", *path:
            cases.check(logits, losses, *path)
        case _, "population", *_:
            sys.exit("this peer trains one model at a time and has no `population`; jax_peer.py has")
        case name, "plain" | "compiled" as form, *numbers if name in cases.CASES and len(numbers) == 3:
            bench(name, form, *map(int, numbers))
        case _:
            sys.exit(f"usage: torch_peer.py {'|'.join(cases.CASES)} plain|compiled MODELS STEPS REPEATS\n       torch_peer.py check [CONFORMANCE.h5]")
