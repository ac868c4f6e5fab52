"""The denoiser D(x, sigma): the network under EDM preconditioning, and the whole model from features on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, final

from torch import Tensor, nn

from frazil.errors import InputError
from frazil.features import Features
from frazil.geometry import center
from frazil.nn.compute import Compute
from frazil.nn.conditioning import Conditioning, DiffusionConditioning
from frazil.nn.config import NetworkConfig, TrunkConfig, require_divisor
from frazil.nn.engine import BoundEngine, EngineStore
from frazil.nn.score import ScoreNetwork
from frazil.nn.trunk import SmallTrunk, Trunk
from frazil.noise import Preconditioning

MIN_TOKENS = 16
"""A matrix product with fewer rows than this changes its bits with their number; so tokens are padded to it."""


class Denoiser(nn.Module):
    """EDM-preconditioned network: an estimate of the clean coordinates from noisy ones (Karras 2022, eq. 7).

    Parameters
    ----------
    network : ScoreNetwork
        F, or any module with its signature.
    preconditioning : Preconditioning
        The four scalings.
    """

    def __init__(self, network: nn.Module, preconditioning: Preconditioning) -> None:
        super().__init__()
        self.network = network
        self.preconditioning = preconditioning
        self._engines = EngineStore()

    def forward(self, coords: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        """Denoise.

        Parameters
        ----------
        coords : Tensor
            [B, S, A, 3] float32, angstrom.
        sigma : Tensor
            [B, S] float32, angstrom, or [B, 1] where the samples share it.
        conditioning : Conditioning
            Made once per input.

        Returns
        -------
        Tensor
            [B, S, A, 3] float32, angstrom.
        """
        return self.preconditioning.denoise(lambda r, c: self.network(r, c, conditioning), coords, sigma)

    def plain(self, conditioning: Conditioning) -> PlainDenoiser:
        """The denoiser of one input, `denoise(coords, sigma)`, by `forward`: differentiable (once), nothing cached."""
        return PlainDenoiser(self, conditioning)

    def bind(self, conditioning: Conditioning, compute: Compute | None = None) -> BoundDenoiser | PlainDenoiser:
        """The denoiser of one input for inference: what neither noise nor coordinates change is computed here, once.

        Parameters
        ----------
        conditioning : Conditioning
            Made once per input.
        compute : Compute, optional
            Precision of the products; float32 by default, which agrees with `forward` to 2e-4 angstrom.

        Returns
        -------
        callable
            `denoise(coords, sigma)`, without gradients, for the weights as they are; bind again when they have changed.
            `plain` where the network is not a `ScoreNetwork`.
        """
        if not isinstance(self.network, ScoreNetwork):
            return self.plain(conditioning)
        engine = self._engines.of(self.network, compute or Compute())
        return BoundDenoiser(engine.bind(conditioning), self.preconditioning)

    def score(self, coords: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        """Gradient of the log density of noisy coordinates, (D(x, s) - x) / s^2 (Karras 2022, eq. 3); [B, S, A, 3]."""
        return (self(coords, sigma, conditioning) - coords) / sigma[..., None, None].square()


@final
class BoundDenoiser:
    """The denoiser of one input, for inference: the callable that samplers take."""

    def __init__(self, engine: BoundEngine, preconditioning: Preconditioning) -> None:
        self._engine = engine
        self._preconditioning = preconditioning

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        """`coords` [B, S, A, 3], `sigma` [B, S] or [B, 1] -> [B, S, A, 3]."""
        return self._preconditioning.denoise(self._engine, coords, sigma)

    def select(self, rows: slice) -> BoundDenoiser:
        """The same for some structures of the batch."""
        return BoundDenoiser(self._engine.select(rows), self._preconditioning)


@final
class PlainDenoiser:
    """A denoiser with its conditioning: the differentiable callable that losses take, and samplers too."""

    def __init__(self, denoiser: Denoiser, conditioning: Conditioning) -> None:
        self._denoiser = denoiser
        self._conditioning = conditioning

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        """`coords` [B, S, A, 3], `sigma` [B, S] or [B, 1] -> [B, S, A, 3]."""
        return self._denoiser(coords, sigma, self._conditioning)

    def select(self, rows: slice) -> PlainDenoiser:
        """The same for some structures of the batch."""
        return PlainDenoiser(self._denoiser, self._conditioning.select(rows))


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides what a `StructureModel` is: its sizes, its scale, the frame it works in.

    >>> ModelConfig.from_dict(ModelConfig.preset("mini").to_dict()) == ModelConfig.preset("mini")
    True
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    trunk: TrunkConfig | None = field(default_factory=TrunkConfig)
    """Sizes of the default trunk; None for a model without one, whose representations come from elsewhere."""
    sigma_data: float = 16.0
    """Standard deviation of the data, angstrom."""
    coordinate_augmentation: bool = True
    """Train on randomly turned and shifted copies, align in loss and sampling; False learns the data's own frame."""

    reference_frame: bool = False
    """Learn each structure as it lies best on its reference conformer, in that one's frame: for ligands, whose only
    conformer then tells the network where to begin. Goes with `coordinate_augmentation = false`."""

    def __post_init__(self) -> None:
        if self.trunk is not None:
            require_divisor(self.trunk.heads, self.network.token_s, "trunk heads", "token_s")
        if self.reference_frame and self.coordinate_augmentation:
            raise InputError("reference_frame goes with coordinate_augmentation = false; set both")
        if not 0 < self.sigma_data < float("inf"):
            raise InputError(f"sigma_data = {self.sigma_data} is out of range: give a number above 0")

    @classmethod
    def preset(cls, name: str) -> ModelConfig:
        """`mini` (about 2 M parameters, trains on two cores), `ligand` (6 M, small molecules) or `boltz2` (full sizes).

        Raises
        ------
        InputError
            If there is no preset of that name.
        """
        if name not in PRESETS:
            raise InputError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
        return PRESETS[name]

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, for JSON and TOML."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Inverse of `to_dict`; missing keys keep their defaults.

        Raises
        ------
        InputError
            If a key is unknown or a value has the wrong type.
        """
        values = dict(values)
        network = _build(NetworkConfig, "network", values.pop("network", {}))
        given = values.pop("trunk", {})
        trunk = None if given is None else _build(TrunkConfig, "trunk", given)
        rest = _known(cls, "model", values)
        return cls(network=network, trunk=trunk, **rest)


PRESETS = {
    "mini": ModelConfig(
        network=NetworkConfig(
            token_s=64, token_z=32, atom_s=64, atom_z=16, dim_fourier=64, token_transformer_depth=4,
            token_transformer_heads=8, atom_encoder_depth=2, atom_decoder_depth=2, conditioning_transition_layers=1,
        ),
        trunk=TrunkConfig(depth=2, heads=4, atom_s=64),
        sigma_data=16.0,
    ),
    "ligand": ModelConfig(
        network=NetworkConfig(
            token_s=96, token_z=48, atom_s=64, atom_z=16, atoms_per_window_queries=16, atoms_per_window_keys=48,
            dim_fourier=96, token_transformer_depth=7, token_transformer_heads=6, atom_encoder_depth=1,
            atom_decoder_depth=1, conditioning_transition_layers=1, use_no_atom_char=True,
        ),
        trunk=TrunkConfig(depth=2, heads=4, atom_s=64, molecule_graph=True),
        sigma_data=3.0,
        coordinate_augmentation=False,
        reference_frame=True,
    ),
    "boltz2": ModelConfig(),
}  # fmt: skip


class StructureModel(nn.Module):
    """Trunk, conditioning and denoiser: from features to a callable `denoise(coords, sigma)`.

    Parameters
    ----------
    config : ModelConfig
        Sizes.
    trunk : nn.Module, optional
        Another trunk than the default one. Without either, `condition` has to be given one.
    """

    def __init__(self, config: ModelConfig, trunk: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        if trunk is None and config.trunk is not None:
            trunk = SmallTrunk(config.network, config.trunk)
        self.trunk = trunk
        self.conditioner = DiffusionConditioning(config.network)
        self.denoiser = Denoiser(ScoreNetwork(config.network), Preconditioning(config.sigma_data))

    def forward(self, features: Features, coords: Tensor, sigma: Tensor) -> Tensor:
        """Everything in one call, differentiable: what training takes, sharded over processes or not.

        Parameters
        ----------
        features : Features
            One batch, from `prepare`.
        coords : Tensor
            [B, S, A, 3] float32, noisy, angstrom.
        sigma : Tensor
            [B, S] float32, angstrom, or [B, 1] where the samples share it.

        Returns
        -------
        Tensor
            [B, S, A, 3] float32, denoised, angstrom.
        """
        denoised: Tensor = self.denoiser(coords, sigma, self.condition(features))
        return denoised

    def prepare(self, features: Features) -> Features:
        """The features padded as `condition` needs them: atoms to whole windows, tokens to at least 16.

        Coordinates that go through the denoiser have the atom axis of these. A model in the reference frame gets the
        reference positions of each structure centred, as its coordinates are.
        """
        if self.config.reference_frame:
            centred = center(features.ref_pos, features.atom_mask) * features.atom_mask[..., None]
            features = replace(features, ref_pos=centred)
        padded = features.pad(num_tokens=max(features.num_tokens, MIN_TOKENS))
        return padded.pad_to_multiple(self.config.network.atoms_per_window_queries)

    def condition(self, features: Features, trunk: Trunk | None = None) -> Conditioning:
        """Everything that depends on the input alone, for features from `prepare`.

        Parameters
        ----------
        features : Features
            One batch.
        trunk : Trunk, optional
            Gives the representations instead of the model's own trunk, such as a `frazil.nn.trunk.FileTrunk`.

        Raises
        ------
        InputError
            If there is neither.
        """
        chosen = self.trunk if trunk is None else trunk
        if chosen is None:
            raise InputError("the model has no trunk of its own; give representations from a conditioning file")
        made: Conditioning = self.conditioner(features, chosen(features))
        return made


_KINDS: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "bool": bool}


def _build(record: type, section: str, values: Mapping[str, Any]) -> Any:
    return record(**_known(record, section, values))


def _known(record: type, section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    allowed = {f.name: f.type for f in fields(record)}
    for key, value in values.items():
        if key not in allowed:
            raise InputError(f"[{section}]: unknown key {key!r}; known are {', '.join(allowed)}")
        kind = _KINDS[str(allowed[key])]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"[{section}]: {key} = {value!r} is not of type {allowed[key]}")
    return dict(values)
