"""Numba functions written as vectors in LLVM's language: what they share.

LLVM compiles vectors of any length for whatever the processor has.
"""

# Numba compiles what is made of these; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import ir


def everywhere(builder, scalar, lanes):
    """A vector of that scalar."""
    index, undefined = ir.IntType(32), ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(index, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(index, lanes), [0] * lanes))


class Arguments:
    """Arrays among the arguments of an intrinsic, by number."""

    def __init__(self, context, builder, signature, values):
        self._builder = builder
        self._arrays = {
            number: context.make_array(kind)(context, builder, value)
            for number, (kind, value) in enumerate(zip(signature.args, values, strict=True))
            if hasattr(kind, "layout")
        }

    def _pointer(self, number, place, lanes):
        first = self._builder.gep(self._arrays[number].data, [place])
        whole = ir.VectorType(first.type.pointee, lanes).as_pointer()
        return self._builder.bitcast(first, whole) if lanes > 1 else first

    def load(self, number, place, lanes=1):
        """Values of array `number` from `place` on: a vector, or one."""
        pointer = self._pointer(number, place, lanes)
        return self._builder.load(pointer, align=_bytes(pointer.type.pointee))

    def store(self, values, number, place, lanes):
        pointer = self._pointer(number, place, lanes)
        self._builder.store(values, pointer, align=_bytes(pointer.type.pointee))


def _bytes(kind):
    """Of one element: arrays lie at multiples of that, not of a vector's size."""
    element = getattr(kind, "element", kind)
    return {"double": 8, "float": 4}.get(str(element)) or element.width // 8
