"""The sides of a comparison: every way to compute a network, under the name that a user types.

float            the PyTorch network of model.pt, in single precision
network          its Network, in double precision: the float meaning without PyTorch
reference        the Program in the NumPy reference
engine           the Program in the engine
TARGET           the Program in a vendor's simulator (`neurodeploy targets`)
TARGET:VARIANT   one of the target's other ways to run it
netx             the Program through Lava's .net file (the user's own where there is one) and lava-dl's netx
run:FOLDER       a recorded run of the Program, from a chip or from elsewhere
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy import __version__
from neurodeploy.compare.definition import Definition, define_program
from neurodeploy.compare.material import Material
from neurodeploy.compare.simulation import run_definition
from neurodeploy.errors import MissingBackendError, UsageError, unknown_name
from neurodeploy.export import targets
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.ir.program import Program
from neurodeploy.recorded_run import RecordedRun, load_run
from neurodeploy.simulate.recording import Recording

Array = NDArray[Any]
Run = Callable[[Array], Recording]
Forced = Callable[[Array, Mapping[str, Array]], Recording]

RECORDED = "run:"
HOST_CURRENTS = "lava:host-currents"
_NAMES = ("float", "network", "reference", "engine", "netx")
# What a variant of a target is known to compute otherwise than the Program says.
_VARIANT_RULES: Mapping[str, Mapping[str, Any]] = {
    "rockpool:subtractive": {"reset": "subtract", "fires_at_threshold": True}
}


@dataclass(frozen=True, eq=False)
class Side:
    """One way to compute a network.

    Attributes:
        name: as typed.
        title: what it is, with its version.
        definition: the equations and numbers that it is meant to compute.
        run: integer inputs of some samples -> Recording, in which layers may lack spikes or potentials.
        forced: inputs and the spikes that layers receive -> Recording; None where the layers' update is not ours.
        exact: `forced` in double precision, where `run` computes in less; else None.
        precision: "single" or "double" where its results depend on the rounding of floating point numbers, else "".
        evidence: what its numbers rest on, or "" for networks that no chip stores.
        recorded: the run, where it is one; its samples come in its order.
    """

    name: str
    title: str
    definition: Definition
    run: Run
    forced: Forced | None = None
    exact: Forced | None = None
    precision: str = ""
    evidence: str = ""
    recorded: RecordedRun | None = None

    @property
    def known(self) -> bool:
        """Whether its layers' update is ours, so that it computes its definition by construction."""
        return self.forced is not None


def needs_program(name: str) -> bool:
    """Whether a side of that name runs a Program."""
    return name not in ("float", "network")


def target_of(name: str) -> str | None:
    """The target whose chip a side of that name runs Programs of, or None."""
    name = "lava" if name == "netx" else name.partition(":")[0]
    return name if name in targets() else None


def open_side(name: str, material: Material) -> Side:
    """The side of that name.

    Raises:
        UsageError: where there is none of that name, or the material lacks what it computes.
        MissingBackendError: where its simulator is not installed, with the command that mends it.
    """
    if name == "float":
        return _module_side(material)
    if name == "network":
        return network_side(material.network_definition)
    if name.startswith(RECORDED):
        return recorded_side(load_run(Path(name.removeprefix(RECORDED)), material.program), material.program)
    if name == "reference":
        from neurodeploy.simulate import reference

        return program_side(material.program, name, f"NumPy reference {__version__}", reference.run)
    if name == "engine":
        from neurodeploy.simulate import engine

        return program_side(material.program, name, f"engine {__version__}", engine.run)
    return _vendor_side(name, material)


def network_side(definition: Definition, name: str = "network") -> Side:
    """A Network, in double precision."""
    return Side(
        name,
        "Network, NumPy in double precision",
        definition,
        lambda inputs: run_definition(definition, inputs),
        lambda inputs, teacher: run_definition(definition, inputs, teacher),
        precision="double",
    )


def program_side(program: Program, name: str, title: str, run: Callable[[Program, Array], Recording]) -> Side:
    """A Program in a simulator of ours."""
    definition = define_program(program)
    return Side(
        name,
        title,
        definition,
        lambda inputs: run(program, inputs),
        lambda inputs, teacher: run_definition(definition, inputs, teacher),
        evidence=_evidence(program),
    )


def recorded_side(run: RecordedRun, program: Program) -> Side:
    """A recorded run of a Program."""
    title = " ".join([run.backend, *(f"{part} {version}" for part, version in run.versions.items()), run.date])

    def replayed(inputs: Array) -> Recording:
        raise AssertionError("a recorded run is cut, not run")  # `stream` does

    return Side(
        f"{RECORDED}{run.name}",
        f"recorded run of {title}",
        define_program(program),
        replayed,
        evidence=run.evidence,
        recorded=run,
    )


def _module_side(material: Material) -> Side:
    if material.network is None:
        return network_side(material.network_definition)
    if material.module is None:
        raise UsageError(
            "float: there is no PyTorch network here (artifacts and imported models hold none); compare `network`, the "
            "float meaning in double precision, or name the model.pt that was trained"
        )
    from neurodeploy.compare.module import in_double, run_module

    module = material.module
    return Side(
        "float",
        "PyTorch network, single precision",
        material.network_definition,
        lambda inputs: run_module(module, inputs),
        lambda inputs, teacher: run_module(module, inputs, teacher),
        lambda inputs, teacher: run_module(in_double(module), inputs, teacher),
        precision="single",
    )


def _vendor_side(name: str, material: Material) -> Side:
    target_name, _, variant = name.partition(":")
    known = targets()
    if name == "netx" and name not in known:
        target_name = "lava"
    if target_name not in known:
        raise unknown_name("backend", name, (*_NAMES, *known, f"{RECORDED}FOLDER"))
    target = known[target_name]
    run: Callable[[Program, Array], Recording]
    if name == "netx" and name not in known:
        from neurodeploy.export.lava import run_net, run_netx

        title, run = "Lava through netx (.net file)", run_netx
        if material.net is not None:
            run = partial(run_net, material.net)
    elif name == HOST_CURRENTS:
        from neurodeploy.export.lava import run_host_currents

        title, run = "Lava, currents of the input computed by the host", run_host_currents
    elif variant:
        if variant not in target.variants:
            raise unknown_name(f"variant of {target_name}", variant, target.variants)
        title, run = target.variants[variant]
    else:
        title, run = target.title, target.run
    found = target.backend()
    if found.version is None:
        raise MissingBackendError(f"{name}: {found.detail}")
    program = material.program
    definition = define_program(program)
    rules = _VARIANT_RULES.get(name)
    if rules is not None:
        definition = replace(definition, layers=tuple(replace(layer, **rules) for layer in definition.layers))
    return Side(
        name,
        f"{title} {found.version}",
        definition,
        lambda inputs: run(program, inputs),
        evidence=_evidence(program),
    )


def _evidence(program: Program) -> str:
    return str(find_chip(program.chip).evidence)


def part_of(recording: Recording, samples: slice) -> Recording:
    """Some samples of a recording."""
    return Recording(
        {name: values[:, samples] for name, values in recording.spikes.items()},
        {name: values[:, samples] for name, values in recording.potentials.items()},
        np.asarray(recording.readout[samples]),
    )
