"""The training step in JAX, as a peer to time this project's against.

    python jax_peer.py CASE plain|population|sharded MODELS STEPS REPEATS
    python jax_peer.py check [CONFORMANCE.h5]

`plain` is one model and one jitted step a call, as a training loop is usually written. `population` trains many models at once, all steps of a run in
one call: a scan over the steps of a step that is mapped over the models. `sharded` is the same with the models spread over the cores. After a warm-up
each repeat prints a line of JSON as soon as it is done. `check` holds logits, losses and a stretch of training against the published
implementation's. The cases are in cases.py.
"""

import cases  # First, since it starts the clock.

import os
import sys
from functools import partial

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

# A multiplication of matrices for every sequence and head costs more than its few numbers: for so few tokens, sums of products that the compiler
# fuses are faster.
FEW_TOKENS = 8


def layer_norm(norm, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * norm["gain"] + norm["bias"]


def linear(layer, x):
    return x @ layer["weight"] + layer["bias"]


def rotate(tables, x):
    """Rotary positions, on [sequence, token, head, dimension]."""
    cosine, sine = (table[:, None, :] for table in tables)
    even, odd = x[..., ::2], x[..., 1::2]
    return jnp.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).reshape(x.shape)


def project(case, x, weight):
    """Projections [sequence, token, head, dimension], as many as the weight holds."""
    parts = (x @ weight).reshape(*x.shape[:2], -1, case.heads, case.head_width)
    return [parts[:, :, index] for index in range(parts.shape[2])]


def attention(case, block, x, query_alone):
    """Causal attention; in the last block nothing but the query's row is asked for, and the others are not computed."""
    causal = np.tri(case.tokens, dtype=bool)
    if query_alone:
        causal = causal[-1:]
        [q] = project(case, x[:, -1:], block["qkv"][:, : case.width])
        k, v = project(case, x, block["qkv"][:, case.width :])
    else:
        q, k, v = project(case, x, block["qkv"])
    if case.positions == "rope":
        tables = cases.rotations(case)
        q, k = rotate([table[-q.shape[1] :] for table in tables], q), rotate(tables, k)
    q = q * case.head_width**-0.5
    if case.tokens <= FEW_TOKENS and not query_alone:
        scores = (q[:, :, None] * k[:, None]).sum(-1)
        pattern = jax.nn.softmax(jnp.where(causal[..., None], scores, -jnp.inf), axis=2)
        z = (pattern[..., None] * v[:, None]).sum(2)
    else:
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)
        pattern = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf))
        z = jnp.einsum("bhqk,bkhd->bqhd", pattern, v)
    return z.reshape(*z.shape[:2], case.width) @ block["proj"]


def residual(case, parameters, features, labels, query_alone):
    """The last norm's output [sequence, token, width], of the query alone or of all tokens, from features [sequence, pair, feature] and
    labels [sequence, pair]. The query's label is left out."""
    examples = linear(parameters["example"], features)
    tokens = jnp.stack([examples, parameters["label"][labels]], 2)
    x = tokens.reshape(len(labels), -1, case.width)[:, : case.tokens]
    if case.positions == "learned":
        x += parameters["positions"][: case.tokens]
    if case.positions == "sinusoidal":
        x += cases.sinusoids(case)
    for block in parameters["blocks"]:
        query_is_enough = query_alone and block is parameters["blocks"][-1]
        attended = attention(case, block, layer_norm(block["norm1"], x), query_is_enough)
        x = (x[:, -1:] if query_is_enough else x) + attended
        if case.mlp_ratio:
            x += linear(block["fc2"], jax.nn.gelu(linear(block["fc1"], layer_norm(block["norm2"], x)), approximate=True))
    return layer_norm(parameters["norm"], x)


def query_loss(case, parameters, bank, classes, labels):
    """The mean cross-entropy at the query, the only token that is unembedded."""
    query = residual(case, parameters, bank[classes], labels, query_alone=True)[:, -1]
    chances = jax.nn.log_softmax(linear(parameters["unembed"], query))
    return -jnp.take_along_axis(chances, labels[:, -1:], 1).mean()


def start(parameters):
    parameters = jax.tree.map(jnp.asarray, parameters)
    return parameters, jax.tree.map(jnp.zeros_like, parameters), jax.tree.map(jnp.zeros_like, parameters), jnp.zeros((), jnp.int32)


def step(case, state, bank, classes, labels):
    """A step of Adam: the new state and the loss before it."""
    parameters, first, second, count = state
    loss, gradient = jax.value_and_grad(partial(query_loss, case))(parameters, bank, classes, labels)
    count += 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    rate, unbias = case.rate / (1 - 0.9**count), 1 / (1 - 0.999**count)
    parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v * unbias) + 1e-8), parameters, first, second)
    return (parameters, first, second, count), loss


def plain(case, models, steps):
    """One model, one call a step: the first step, and a run of so many more."""
    if models != 1:
        sys.exit("plain trains one model; many at once are the form `population`")
    advance = jax.jit(partial(step, case), donate_argnums=0)
    bank = jnp.asarray(cases.random_bank(case))
    batches = [jax.device_put(batch) for batch in zip(*cases.draw(case, steps))]
    state = start(cases.initial_parameters(case))

    def run(count=steps):
        nonlocal state
        losses = []
        for batch in batches[:count]:
            state, loss = advance(state, bank, *batch)
            losses.append(loss)
        return jax.block_until_ready(losses)

    return run


def population(case, models, steps, cores=1):
    """Many models, all steps in one call. With more cores than one, the models are spread over so many devices of one core each."""
    devices = max(count for count in range(1, cores + 1) if models % count == 0)
    jax.config.update("jax_num_cpu_devices", devices)
    mesh = jax.make_mesh((devices,), ("model",))
    mapped = jax.vmap(partial(step, case), in_axes=(0, None, 0, 0))
    of_models, of_steps, everywhere = PartitionSpec("model"), PartitionSpec(None, "model"), PartitionSpec()

    @partial(jax.jit, donate_argnums=0)
    @partial(jax.shard_map, mesh=mesh, in_specs=(of_models, everywhere, of_steps, of_steps), out_specs=(of_models, of_steps), check_vma=False)
    def advance(state, bank, classes, labels):
        return jax.lax.scan(lambda state, batch: mapped(state, bank, *batch), state, (classes, labels))

    def put(array, spec):
        return jax.device_put(array, NamedSharding(mesh, spec))

    bank = put(cases.random_bank(case), everywhere)
    drawn = [indices.reshape(steps, models, *indices.shape[1:]) for indices in cases.draw(case, steps * models)]
    first_batch = [put(indices[:1], of_steps) for indices in drawn]
    batches = [put(indices, of_steps) for indices in drawn]
    each = [start(cases.initial_parameters(case, seed)) for seed in range(models)]
    state = put(jax.tree.map(lambda *leaves: np.stack(leaves), *each), of_models)
    del each

    def run(count=steps):
        nonlocal state
        state, losses = advance(state, bank, *(batches if count == steps else first_batch))
        return jax.block_until_ready(losses)

    return run


FORMS = {"plain": plain, "population": population, "sharded": partial(population, cores=os.cpu_count())}


def bench(name, form, models, steps, repeats):
    run = FORMS[form](cases.CASES[name], models, steps)
    run(1)
    first = cases.since_start()
    run()
    cases.time_runs(
        run, repeats, steps, peer="jax", version=jax.__version__, case=name, form=form, models=models, first_step_seconds=first
    )


def logits(case, parameters, features, labels):
    x = residual(case, parameters, features, labels, query_alone=False)
    return linear(parameters["unembed"], x[:, ::2])


def losses(case, parameters, bank, classes, labels):
    bank, *batches = map(jnp.asarray, (bank, classes, labels))
    _, losses = jax.lax.scan(lambda state, batch: step(case, state, bank, *batch), start(parameters), batches)
    return losses


if __name__ == "__main__":
    match sys.argv[1:]:
        case "check", *path:
            cases.check(logits, losses, *path)
        case name, form, *numbers if name in cases.CASES and form in FORMS and len(numbers) == 3:
            bench(name, form, *map(int, numbers))
        case _:
            sys.exit(f"usage: jax_peer.py {'|'.join(cases.CASES)} {'|'.join(FORMS)} MODELS STEPS REPEATS\n       jax_peer.py check [CONFORMANCE.h5]")
