"""Neurons whose input is known at every step: all steps of some neurons in one loop, their state in registers.

The loops of `simulate.spiking_kernels` go through a layer step by step and load and store what each neuron has every
time. These are written as vectors (`simulate.vectors`), which is what it takes to turn the loops around. They compute
operation for operation what those loops do, to the same bits.
"""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from neurodeploy.simulate.vectors import Arguments, everywhere

LANES = 32  # neurons at once: enough of them that none waits for its own last step
_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)


def _splat(value):
    return ir.Constant(_DOUBLES, [value] * LANES)


def _all_steps(update):
    """An intrinsic that runs LANES neurons through all steps.

    Args:
        update: (builder, potential, what arrives, retention, bias, threshold, the two flags) -> (potential, fired).
    """

    @intrinsic
    def through(typing, sums, at, pitch, steps, keep, bias, limit, own, unit, flags, spikes, first, row):
        """Steps of the neurons whose parameters begin at `own`.

        Args:
            sums, at, pitch: what arrives: from `at` on, a step every `pitch` values.
            flags: (fires at threshold, subtracts it).
            spikes, first, row: written: from `first` on, a step every `row` values.
        """

        def build(context, builder, signature, values):
            _, at, pitch, steps, _, _, _, own, unit, flags, _, first, row = values
            arrays = Arguments(context, builder, signature, values)
            parameters = [arrays.load(number, own, LANES) for number in (4, 5, 6)]
            unit = everywhere(builder, unit, LANES)
            flags = [builder.trunc(one, ir.IntType(1)) for one in cgutils.unpack_tuple(builder, flags, 2)]
            potential = cgutils.alloca_once_value(builder, _splat(0.0))
            with cgutils.for_range(builder, steps) as loop:
                arrived = arrays.load(0, builder.add(at, builder.mul(loop.index, pitch)), LANES)
                arriving = builder.fmul(unit, builder.sitofp(arrived, _DOUBLES))
                after, fired = update(builder, builder.load(potential), arriving, *parameters, *flags)
                builder.store(after, potential)
                place = builder.add(first, builder.mul(loop.index, row))
                arrays.store(builder.zext(fired, _BYTES), 10, place, LANES)
            return context.get_dummy_value()

        return types.void(sums, at, pitch, steps, keep, bias, limit, own, unit, flags, spikes, first, row), build

    return through


def _floating(builder, potential, arriving, keep, bias, limit, at_threshold, subtract):
    """`spiking_kernels.floating`."""
    reached = builder.fadd(builder.fmul(keep, potential), builder.fadd(arriving, bias))
    above, there = (builder.fcmp_ordered(sign, reached, limit) for sign in (">", ">="))
    fired = builder.select(at_threshold, there, above)
    rest = builder.select(subtract, builder.fsub(reached, limit), _splat(0.0))
    return builder.select(fired, rest, reached), fired


def _fixed_point(builder, potential, arriving, keep, bias, limit, *_):
    """`spiking_kernels.fixed_point`."""
    kept = builder.fmul(keep, potential)
    kind = ir.FunctionType(_DOUBLES, [_DOUBLES])
    trunc = cgutils.get_or_insert_function(builder.module, kind, f"llvm.trunc.v{LANES}f64")
    reached = builder.fadd(builder.call(trunc, [kept]), builder.fadd(arriving, bias))
    fired = builder.fcmp_ordered(">", reached, limit)
    return builder.select(fired, _splat(0.0), reached), fired


floating_through = _all_steps(_floating)
fixed_point_through = _all_steps(_fixed_point)
