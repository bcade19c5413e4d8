"""The internals of optimum and gptqmodel that `models.quantization.layerwise` relies on."""

import inspect
from typing import Any

import torch
from gptqmodel.quantization import GPTQ, QuantizeConfig
from optimum.gptq import GPTQQuantizer
from torch import nn

HESSIAN_SIZE = 64


def calibrated(**options: Any) -> Any:
    """A GPTQ object for a linear layer, after one batch of calibration tokens."""
    torch.manual_seed(0)
    layer: Any = nn.Linear(HESSIAN_SIZE, 8, bias=False)
    gptq = GPTQ(layer, qcfg=QuantizeConfig(bits=4, group_size=32, **options))
    gptq.quantizer.configure(bits=4, sym=True, perchannel=True)
    inputs = torch.randn(1, 200, HESSIAN_SIZE)
    gptq.add_batch(inputs, layer(inputs))
    return gptq


def test_optimum_packs_layers_from_their_scales_zeros_and_groups() -> None:
    assert list(inspect.signature(GPTQQuantizer.pack_model).parameters) == ["self", "model", "quantizers"]
    assert {"percdamp", "group_size", "actorder"} <= set(inspect.signature(GPTQ.fasterquant).parameters)


def test_the_hessian_is_twice_the_mean_of_the_inputs_outer_products() -> None:
    gptq = calibrated()
    torch.manual_seed(0)
    nn.Linear(HESSIAN_SIZE, 8, bias=False)
    inputs = torch.randn(200, HESSIAN_SIZE)
    hessian = gptq.finalize_hessian(target_device=gptq.module.target_device)
    torch.testing.assert_close(hessian, 2 * inputs.T @ inputs / 200, atol=1e-4, rtol=1e-4)
    assert gptq.nsamples == 200


def test_fasterquant_puts_the_quantized_weights_into_the_layer_and_returns_its_loss_as_a_number() -> None:
    gptq = calibrated()
    before = gptq.clone_module(device=torch.device("cpu"))
    scale, zero, _, _, loss, _ = gptq.fasterquant(percdamp=0.1, group_size=32, actorder=False)
    after = gptq.clone_module(device=torch.device("cpu"))
    assert isinstance(loss, float)
    assert not gptq.qcfg.mock_quantization
    assert not torch.equal(before, after)
    levels = after.reshape(8, -1, 32) / scale[..., None] + zero[..., None]
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)


def test_a_layer_without_calibration_tokens_is_rounded_and_its_loss_is_a_text() -> None:
    layer: Any = nn.Linear(HESSIAN_SIZE, 8, bias=False)
    gptq = GPTQ(layer, qcfg=QuantizeConfig(bits=4, group_size=32))
    gptq.quantizer.configure(bits=4, sym=True, perchannel=True)
    gptq.finalize_hessian(target_device=gptq.module.target_device)
    loss = gptq.fasterquant(percdamp=0.1, group_size=32, actorder=False)[4]
    assert gptq.nsamples == 0
    assert isinstance(loss, str)
