"""Whole methods as plain loops, written from their papers and independent of what they check."""

import torch
from sklearn.cluster import KMeans

from bench.plain import plain_billm, plain_factor, plain_gptq
from luq import AWQ, GPTQ, PBLLM, RTN, BiLLM
from luq.pipelines.synthetic import stats_of


def _hessian(inputs):
    return stats_of(inputs).hessian


def plain_rtn(weight, bits, group=128, *, zero_included=True):
    """Asymmetric rounding of each row and group; AWQ's grid does not include zero by force."""
    result = torch.zeros_like(weight)
    for start in range(0, weight.shape[1], group):
        for row in range(len(weight)):
            part = weight[row, start : start + group]
            low, high = float(part.min()), float(part.max())
            if zero_included:
                low, high = min(low, 0.0), max(high, 0.0)
            step = float(torch.tensor((high - low) / (2**bits - 1)).half())
            zero = min(max(round(-low / step), 0), 2**bits - 1)
            codes = torch.tensor(
                [min(max(round(float(w) / step) + zero, 0), 2**bits - 1) for w in part]
            )
            result[row, start : start + group] = step * (codes - zero)
    return result


def plain_pbllm(weight, inputs, share=0.1):
    original, weight = weight, weight.clone()
    upper = plain_factor(_hessian(inputs))
    low, high = original.amin(1).clamp(max=0), original.amax(1).clamp(min=0)
    step = ((high - low) / 255).half().float()
    zero = torch.round(-low / step)
    saliency = weight**2 / upper.diagonal() ** 2
    limit = saliency.flatten().sort().values[int(saliency.numel() * (1 - share))]
    binary = saliency <= limit
    masked = torch.where(binary, weight, 0.0)
    mean = masked.mean(1).half().float()
    scale = (masked - mean[:, None]).abs().mean(1).half().float()
    result = torch.zeros_like(weight)
    for i in range(weight.shape[1]):
        column = weight[:, i]
        ones = mean + torch.where(column >= mean, scale, -scale)
        eights = step * (torch.clamp(torch.round(column / step) + zero, 0, 255) - zero)
        result[:, i] = torch.where(binary[:, i], ones, eights)
        weight[:, i:] -= ((column - result[:, i]) / upper[i, i])[:, None] * upper[i, i:]
    return result


def plain_awq(weight, inputs, bits):
    """llm-awq's scale search on one linear, without clips."""
    activity = inputs.abs().mean(0)
    candidates = []
    for step in range(20):
        scale = (activity ** (step / 20)).clamp(min=1e-4)
        scale = scale / (scale.max() * scale.min()).sqrt()
        value = plain_rtn(weight * scale, bits, zero_included=False) / scale
        candidates.append((float(((value - weight) @ inputs.T).square().sum()), value))
    return min(candidates, key=lambda pair: pair[0])[1]


def plain_sage(weight, groups, share):
    """The share of weights farthest from the mean at four bits, a step a row; the others a sign and
    the nearest of `groups` magnitudes.
    """
    farthest = (
        (weight - weight.mean())
        .abs()
        .flatten()
        .argsort(descending=True)[: round(share * weight.numel())]
    )
    salient = torch.zeros(weight.numel(), dtype=torch.bool)
    salient[farthest] = True
    salient = salient.reshape(weight.shape)
    inliers = weight[~salient].abs().numpy()[:, None]
    fitted = KMeans(groups, n_init=3, random_state=1).fit(inliers)
    result = torch.zeros_like(weight)
    result[~salient] = (
        torch.from_numpy(fitted.cluster_centers_[fitted.labels_, 0]).float()
        * torch.where(weight >= 0, 1.0, -1.0)[~salient]
    )
    for row in range(len(weight)):
        chosen = weight[row][salient[row]]
        if len(chosen):
            codes = (chosen / (chosen.abs().max() / 7)).round()
            result[row][salient[row]] = codes * float((codes * chosen).sum() / codes.square().sum())
    return result


ORACLES = {
    RTN(4): lambda w, x: plain_rtn(w, 4),
    GPTQ(4): lambda w, x: plain_gptq(w, _hessian(x), 4),
    GPTQ(3): lambda w, x: plain_gptq(w, _hessian(x), 3),
    GPTQ(2): lambda w, x: plain_gptq(w, _hessian(x), 2),
    GPTQ(3, group=64): lambda w, x: plain_gptq(w, _hessian(x), 3, group=64),
    BiLLM("code"): lambda w, x: plain_billm(w, _hessian(x)),
    PBLLM(): plain_pbllm,
    AWQ(3, clip=False): lambda w, x: plain_awq(w, x, 3),
}
