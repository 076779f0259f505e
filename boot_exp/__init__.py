"""Diffusion distillation as declarative experiments: BOOT and the methods it is compared with."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_OFFERED = {
    "diffusion.conditions": "ByClass Condition Conditions DrawnLabels FixedGuidance Guidance Labels LabelsInTurn "
    "PromptConditions Prompts UniformGuidance",
    "diffusion.denoisers": "Decoder Denoiser DiffusionModel Guided Networked",
    "diffusion.distances": "Distance PseudoHuber SquaredError",
    "diffusion.levels": "Level",
    "diffusion.nets.unet": "Convolutions Groups NarrowGroups Resampling ResidualBlocks ThirtyTwoGroups UNet WideGroups",
    "diffusion.perceptual": "Lpips",
    "diffusion.predictions": "FromEps FromF FromScore FromV FromX Prediction",
    "diffusion.pure_noise": "NoSignalLeft ZeroTerminalSnr",
    "diffusion.samplers": "Along AtGuidance EdmSampler GuidanceSweep OneJump Renoised RenoisedSweep Sampler Sweep",
    "diffusion.schedules": "Clamped Cosine GivenTable KarrasTime LinearBeta LinearTable ScaledLinearTable Schedule "
    "SigmoidTable SquaredCosineTable Table",
    "diffusion.solvers": "Coordinate Ddim Dpmpp2M Heun Integrator NoiseRatio OneStep OnSignal SignalEuler SignalRatio "
    "SignalStep Solver",
    "diffusion.step_weights": "InverseSquareCoefficient InverseSquareStep StepWeight Unweighted",
    "diffusion.times": "Discretisation DoublingSteps FixedSteps Grid KarrasGrid ProgressiveTimes Times UniformGrid "
    "UniformTimes",
    "diffusion.weights": "Snr SnrPlusOne TruncatedSnr Uniform Weight",
    "engine.averages": "Average BiasCorrected Ema Momentum",
    "engine.terms": "Term",
    "methods": "Batch Method Start",
    "methods.boot": "Boot",
    "methods.boot_derivative": "BootDerivative",
    "methods.consistency": "Consistency",
    "methods.direct": "Direct",
    "methods.guided": "GuidedDistillation",
    "methods.neighbours": "ByData ByTeacher Neighbour",
    "methods.progressive": "Progressive",
    "methods.students": "AtEnd AtTime ConsistencyStudent DenoisingStudent Reading SignalStudent",
    "methods.tract": "Tract",
    "teachers.consistency_models": "ConsistencyModels",
    "teachers.decoding": "VaeDecoder",
    "teachers.deepfloyd": "DeepFloyd DeepFloydSuperResolution DynamicThresholding",
    "teachers.diffusers": "Diffusers",
    "teachers.edm": "Edm",
    "teachers.guided_diffusion": "GuidedDiffusion",
    "teachers.stable_diffusion": "StableDiffusion",
    "teachers.stable_diffusion_xl": "StableDiffusionXL",
    "teachers.text": "ClipPairText ClipText PipelineText T5Text",
}
"""The public names of each module, which is imported when the first of its names is used: torch takes seconds."""
_MODULES = {name: module for module, names in _OFFERED.items() for name in names.split()}

__all__ = ["__version__", *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
