"""What does not fit together in a `NetworkConfig`, or with the shape of the input."""

from __future__ import annotations

from neurodeploy.config import NetworkConfig
from neurodeploy.ir.arrays import Shape
from neurodeploy.snn.networks.plain import VGG_BLOCKS, convnet_blocks, pooled_size
from neurodeploy.snn.networks.residual import STAGES, halved

# Options that only some kinds of network have; set to something else than the default elsewhere, they are refused.
_ONLY_IN = {
    "width": ("vgg", "resnet19"),
    "stem": ("resnet19",),
    "residual": ("resnet19",),
    "classifier_norm": ("resnet19",),
    "recurrent": ("mlp",),
    "current_decay": ("mlp",),
    "most_spikes": ("mlp",),
    "pool": ("convnet", "vgg"),
    "fan_in": ("mlp",),
    "depth": ("convnet",),
    "padding": ("convnet",),
}


def problems(config: NetworkConfig, shape: Shape) -> list[str]:
    """Everything that is wrong, each with what is allowed."""
    return [f"network.{text}" for text in (*_options(config), *_sizes(config, shape))]


def _options(config: NetworkConfig) -> list[str]:
    found = [
        f"{name}={getattr(config, name)}: only in {' and '.join(kinds)}, this is {config.kind}"
        for name, kinds in _ONLY_IN.items()
        if config.kind not in kinds and getattr(config, name) != NetworkConfig.model_fields[name].default
    ]
    if config.classifier_norm and config.norm == "none":
        found.append("classifier_norm=True: with norm=none there are no batch norms; set network.norm=batch")
    if config.lateral == "channel" and config.kind == "mlp":
        found.append("lateral=channel: only between neurons of convolutional layers; an mlp can have network.recurrent")
    neurons_at_the_end = config.readout != "membrane"
    if config.lateral == "feature" and not config.hidden and not neurons_at_the_end:
        found.append("lateral=feature: no fully connected layer has neurons; set network.hidden")
    if config.dropout and not config.hidden:
        found.append(f"dropout={config.dropout}: comes after hidden layers, there are none; set network.hidden")
    graded = [f"{name}=potential" for name in ("hidden_output", "readout") if getattr(config, name) == "potential"]
    if config.hidden_output == "potential" and not config.hidden:
        found.append("hidden_output=potential: there are no hidden layers; set network.hidden")
    if graded and config.surrogate_linear != "softplus":
        found.append(f"surrogate_linear={config.surrogate_linear}: {graded[0]} needs softplus")
    if config.hidden_output == "potential" and config.recurrent:
        found.append("recurrent: carries spikes, network.hidden_output=potential has none; use one of the two")
    own = [f"{name}={getattr(config, name)}" for name in ("current_decay", "most_spikes") if _changed(config, name)]
    if own and graded:
        found.append(f"{own[0]}: carries spikes, {graded[0]} has graded potentials; use one of the two")
    if config.fan_in is not None and config.norm != "none":
        found.append(f"norm={config.norm}: folds into biases, layers with network.fan_in have none; set norm=none")
    if config.fan_in is not None and config.recurrent:
        found.append("recurrent: reads all neurons of its layer, network.fan_in limits inputs; use one of the two")
    if config.most_spikes > 1 and config.reset != "subtract":
        found.append(f"most_spikes={config.most_spikes}: needs reset=subtract, each spike takes off a threshold")
    if config.current_decay and config.norm != "none":
        found.append(f"norm={config.norm}: its bias would go through the current; with current_decay set norm=none")
    if config.current_decay and config.lateral != "none":
        found.append(f"lateral={config.lateral}: not with current_decay; an mlp can have network.recurrent")
    return found


def _changed(config: NetworkConfig, name: str) -> bool:
    return bool(getattr(config, name) != NetworkConfig.model_fields[name].default)


def _sizes(config: NetworkConfig, shape: Shape) -> list[str]:
    if config.kind == "mlp":
        return []
    if len(shape) != 3:
        return [f"kind={config.kind}: needs images of shape (C, H, W), these are {shape}; use mlp"]
    _, height, width = shape
    if config.kind == "resnet19":
        for _, _, stride in STAGES:
            height, width = (height, width) if stride == 1 else (halved(height), halved(width))
        if height != width:
            return [f"kind=resnet19: averages over {height} x {width} places at the end; needs square images"]
        return []
    blocks = convnet_blocks(config) if config.kind == "convnet" else VGG_BLOCKS
    if any(pooled_size(size, blocks, config.padding) is None for size in (height, width)):
        factor = 2 ** len(blocks)
        if config.padding:
            rule = f"{len(blocks)} poolings by two need images whose height and width are divisible by {factor}"
        else:
            rule = "every pooling by two needs an even size, and each convolution without padding takes 2 off it"
        option = "channels" if config.kind == "convnet" else "kind=vgg"
        return [f"{option}: {rule}, these are {height} x {width}"]
    return []
