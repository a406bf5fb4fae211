"""The published graph of the denoiser: what "as published" costs, operation by operation.

Eager, float32, nothing folded or re-associated: tokens between the layers of a block, every sum of products an einsum,
the 15 x 15 window a convolution with 5-D weights, the k x v matrix of every token written out, the position table
gathered by its identity index in every call. Weights are those of a `MoebiusUNet`, shared and not copied.

It counts what is counted of the release: 316.0 GFLOP a row at full size, and in 15 blocks 229 convolutions, 105
products of batches, 124 batch norms, 46 group norms, 45 layer norms, 30 softmaxes, 15 gathers.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moebius.networks import InteractiveLambda, LambdaMixBlock, LocalLambda, MoebiusUNet
from moebius.networks.lambdas import WINDOW


def published_graph(net: MoebiusUNet) -> MoebiusUNet:
    """A network that computes the same from the same weights, in the published way; square maps of native size only.

    Args:
        net: left as it is; the result shares its parameters and batch-norm statistics.
    """
    kept = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    twin = copy.deepcopy(net, memo=dict(kept))
    for stage in (*twin.down, *twin.up):
        for index, block in enumerate(stage.mixers):
            stage.mixers[index] = PublishedBlock(block)
    return twin


class PublishedBlock(nn.Module):
    """A `LambdaMixBlock` on tokens (B, n, C)."""

    def __init__(self, block: LambdaMixBlock):
        super().__init__()
        self.norm, self.proj_in, self.proj_out = block.norm, block.proj_in, block.proj_out
        self.norm1, self.norm2, self.norm3 = block.norm1, block.norm2, block.norm3
        self.local = PublishedLocalLambda(block.local)
        self.interactive = PublishedInteractiveLambda(block.interactive)
        self.ffn = block.ffn

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, C, H, W), context (B, m, context channels) -> (B, C, H, W)."""
        height, width = x.shape[2:]
        z = tokens(self.proj_in(self.norm(x)))
        z = z + self.local(_layer_norm(self.norm1, z), height, width)
        z = z + self.interactive(_layer_norm(self.norm2, z), context, height, width)
        z = z + tokens(self.ffn(feature_map(_layer_norm(self.norm3, z), height, width)))
        out: Tensor = x + self.proj_out(feature_map(z, height, width).contiguous())
        return out


class PublishedLocalLambda(nn.Module):
    """L-lambda with its matrices written out: content (B, k, v) and position (B, k, v, n)."""

    def __init__(self, layer: LocalLambda):
        super().__init__()
        self.layer = layer

    def forward(self, z: Tensor, height: int, width: int) -> Tensor:
        """z (B, n, C) -> (B, n, C)."""
        layer, batch = self.layer, z.shape[0]
        x = feature_map(z, height, width).contiguous()
        query = layer.norm_q(layer.to_q(x))
        key = layer.to_k(x).reshape(batch, layer.depth, -1).softmax(dim=-1)
        value = layer.norm_v(layer.to_v(x))  # (B, v, H, W)
        query = query.reshape(batch, layer.heads, layer.depth, -1)
        flat = value.reshape(batch, layer.depth, -1)

        content = torch.einsum("bkn,bvn->bkv", key, flat)
        out = torch.einsum("bhkn,bkv->bhvn", query, content)
        # One kernel of 1 x 15 x 15 a key channel: the depth axis runs over the value channels.
        kernel, half = layer.position.weight.unsqueeze(2), WINDOW // 2  # (k, 1, 1, 15, 15)
        position = F.conv3d(value.unsqueeze(1), kernel, layer.position.bias, padding=(0, half, half))
        lambdas = position.flatten(3)  # (B, k, v, n)
        out = out + torch.einsum("bhkn,bkvn->bhvn", query, lambdas)
        return out.permute(0, 3, 1, 2).reshape(batch, height * width, -1)


class PublishedInteractiveLambda(nn.Module):
    """I-lambda with the k x v matrix of every token written out: (B, n, k, v)."""

    def __init__(self, layer: InteractiveLambda):
        super().__init__()
        self.layer = layer

    def forward(self, z: Tensor, context: Tensor, height: int, width: int) -> Tensor:
        """z (B, n, C), context (B, m, context channels) -> (B, n, C)."""
        layer, batch = self.layer, z.shape[0]
        query = layer.norm_q(layer.to_q(feature_map(z, height, width).contiguous()))
        query = query.reshape(batch, layer.heads, layer.depth, -1)
        key = layer.to_k(context).softmax(dim=1)  # (B, m, k)
        value = layer.norm_v(layer.to_v(context).transpose(1, 2))  # (B, v, m)

        content = torch.einsum("bmk,bvm->bkv", key, value)
        places = torch.arange(layer.positions.shape[0], device=z.device)[:, None]
        table = layer.positions[places, torch.arange(layer.tokens, device=z.device)]  # (n, m, k): all of it
        lambdas = torch.einsum("nmk,bvm->bnkv", table, value)
        out = torch.einsum("bhkn,bkv->bhvn", query, content)
        out = out + torch.einsum("bhkn,bnkv->bhvn", query, lambdas)
        return out.permute(0, 3, 1, 2).reshape(batch, height * width, -1)


def tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, n, C), row by row."""
    return x.flatten(2).transpose(1, 2).contiguous()


def feature_map(z: Tensor, height: int, width: int) -> Tensor:
    """(B, n, C) -> (B, C, H, W), a view."""
    return z.transpose(1, 2).reshape(*z.shape[::2], height, width)


def _layer_norm(norm: nn.LayerNorm, z: Tensor) -> Tensor:
    """On tokens, whose channels come last already."""
    return F.layer_norm(z, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
