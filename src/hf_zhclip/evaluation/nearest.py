"""The nearest vectors of a pool by inner product, in an order that does not depend on blocks, threads or processor."""

import torch

QUERY_BLOCK, POOL_BLOCK = 1024, 8192
"""Rows of one matrix product. Its scores take 32 MiB, however large the pool is."""

MOST_SCORES = 2**20
"""Scores in float64 at once."""

SPARE = 22
"""Candidates beyond the wanted ones, so that float32's rounding rarely decides who is a candidate."""


def nearest(queries: torch.Tensor, pool: torch.Tensor, k: int) -> torch.Tensor:
    """The row numbers of each query's `k` best pool vectors, the best first; equal scores keep the pool's order.

    float32 products find the candidates. The candidates' scores are computed again in float64 and rounded to float32,
    so that two equal vectors of the pool always have equal scores: in a float32 product, as in cn_clip's, their scores
    may differ by their places. A query whose candidates float32 cannot tell from the rest of the pool is scored
    against the whole pool in float64.

    Args:
        queries: `(n, dim)`, float32.
        pool: `(m, dim)`, float32; it is read in blocks, so that it may be a memory-mapped file, or what has a tensor's
            length, `shape`, `split`, and rows by their numbers.
        k: at most `m`.

    Returns:
        `(n, k)`, int64.
    """
    wanted = min(k + SPARE, len(pool))
    longest = max((block.norm(dim=1).max().item() for block in pool.split(POOL_BLOCK)), default=0.0)
    return torch.cat([_of_block(block, pool, k, wanted, longest) for block in queries.split(QUERY_BLOCK)])


def _of_block(queries: torch.Tensor, pool: torch.Tensor, k: int, wanted: int, longest: float) -> torch.Tensor:
    scores, rows = _candidates(queries, pool, wanted)
    # The bound of a float32 sum of `dim` products, once for a candidate and once for the vector left out.
    rounding = 2 * pool.shape[1] * 2.0**-24 * queries.norm(dim=1, keepdim=True) * longest
    # Not ">=": a comparison with the NaN of an overflow is false, and such a query needs all candidates.
    near = (scores < scores[:, k - 1 : k] - 2 * rounding).logical_not().sum(dim=1)
    # Few candidates are left for most queries; all of them in float64 would cost a third of the product.
    rows = rows[:, : max(near.tolist(), default=k)]
    best = _ordered(queries, pool[rows], rows)[:, :k]
    if wanted < len(pool):
        for unsure in (near == wanted).nonzero().flatten().split(max(1, MOST_SCORES // len(pool))):
            best[unsure] = _of_whole_pool(queries[unsure], pool, k)
    return best


def _candidates(queries: torch.Tensor, pool: torch.Tensor, wanted: int) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 scores and row numbers `(n, wanted)` of the pool's best rows, sorted by score."""
    scores, rows = queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.long)
    start = 0
    for part in pool.split(POOL_BLOCK):
        block = queries @ part.T
        found = block.topk(min(wanted, block.shape[1]), dim=1)
        scores, rows = torch.cat([scores, found.values], 1), torch.cat([rows, found.indices + start], 1)
        kept = scores.topk(min(wanted, scores.shape[1]), dim=1)
        scores, rows, start = kept.values, rows.gather(1, kept.indices), start + len(part)
    return scores, rows


def _ordered(queries: torch.Tensor, vectors: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The row numbers `(n, c)` of candidates `(n, c, dim)`, by score and then by row number."""
    rows, order = rows.sort(dim=1)
    scores = (vectors.double() @ queries.double().unsqueeze(2)).squeeze(2).float().gather(1, order)
    return rows.gather(1, scores.sort(dim=1, descending=True, stable=True).indices)


def _of_whole_pool(queries: torch.Tensor, pool: torch.Tensor, k: int) -> torch.Tensor:
    """The row numbers `(n, k)` of the best, by score and then by row number."""
    wide = queries.double()
    scores = torch.cat([(wide @ block.double().T).float() for block in pool.split(POOL_BLOCK)], dim=1)
    # A whole number of 64 bits holds both: above the score, whose bits have the order of the numbers once those of
    # negative numbers are turned round, and below the place from the end. To sort all scores would take twice as long.
    bits = scores.add_(0.0).view(torch.int32)  # -0.0 becomes 0.0
    bits ^= (bits >> 31) & 0x7FFFFFFF
    places = torch.arange(len(pool) - 1, -1, -1)
    return bits.long().bitwise_left_shift_(32).add_(places).topk(k, dim=1).indices
