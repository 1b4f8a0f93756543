"""Average pooling within `snn.fused`: of a block of spikes that is in the cache, compiled by numba."""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

from neurodeploy.snn.fused_slopes import compiled


@compiled
def pooled(spikes, n, row, inner, pool, scratch, out):
    """Means over pool x pool windows of rows of `row` values, `inner` of them side by side (channels last)."""
    area = spikes.dtype.type(pool * pool)
    group = row * pool
    wide = row // inner // pool
    groups = n // group
    if pool == 2 and inner == 1:
        pairs = spikes[:n].reshape((n // 2, 2))
        for j in range(n // 2):
            scratch[j] = pairs[j, 0] + pairs[j, 1]
        halves = scratch[: n // 2].reshape((groups, 2, wide))
        to = out.reshape((groups, wide))
        for g in range(groups):
            for j in range(wide):
                to[g, j] = (halves[g, 0, j] + halves[g, 1, j]) / area
        return
    windows = spikes[:n].reshape((groups, pool, wide, pool, inner))
    means = out.reshape((groups, wide, inner))
    if pool == 2:
        for g in range(groups):
            for j in range(wide):
                for c in range(inner):
                    upper = windows[g, 0, j, 0, c] + windows[g, 0, j, 1, c]
                    means[g, j, c] = (upper + windows[g, 1, j, 0, c] + windows[g, 1, j, 1, c]) / area
        return
    means[:] = 0
    for g in range(groups):
        for y in range(pool):
            for j in range(wide):
                for x in range(pool):
                    for c in range(inner):
                        means[g, j, c] += windows[g, y, j, x, c]
    for i in range(n // (pool * pool)):
        out[i] /= area


@compiled
def spread_back(gradient, n, row, inner, pool, scratch, out):
    """The gradient of `pooled`: one row is spread, the others of its window are copies."""
    area = gradient.dtype.type(pool * pool)
    groups = n // (row * pool)
    wide = row // inner // pool
    rows = out[:n].reshape((groups, pool, row))
    if pool == 2 and inner == 1:
        for j in range(n // 2):
            scratch[j] = gradient[j >> 1] / area
        spread = scratch[: n // 2].reshape((groups, row))
        for g in range(groups):
            for j in range(row):
                rows[g, 0, j] = spread[g, j]
                rows[g, 1, j] = spread[g, j]
        return
    given = gradient.reshape((groups, wide, inner))
    windows = out[:n].reshape((groups, pool, wide, pool, inner))
    for g in range(groups):
        for j in range(wide):
            for x in range(pool):
                for c in range(inner):
                    windows[g, 0, j, x, c] = given[g, j, c] / area
        for y in range(1, pool):
            for j in range(row):
                rows[g, y, j] = rows[g, 0, j]
