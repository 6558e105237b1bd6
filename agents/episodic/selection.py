"""Selection of the nearest keys in compiled code."""

from typing import no_type_check

import numpy as np

from ...world_models.machine_code import compiled


@compiled(error_model="numpy", nogil=True)
@no_type_check
def keep_smallest(
    distances: np.ndarray, first_row: int, smallest: np.ndarray, index: np.ndarray
) -> None:
    """Update each query's k smallest distances and their rows, [B, k], by a chunk [n, B].

    Both are sorted, nearest first; of equal distances the lowest row is kept. ``first_row`` is the
    row of the chunk's first distance. Most rows are far from all queries, and one comparison of
    vectors skips them.
    """
    num_rows, num_queries = distances.shape
    last = smallest.shape[1] - 1
    limit = smallest[:, last].copy()
    for row in range(num_rows):
        distance = distances[row]
        is_near = False
        for query in range(num_queries):
            is_near |= distance[query] < limit[query]
        if not is_near:
            continue
        for query in range(num_queries):
            if distance[query] < limit[query]:
                rank = last
                while rank and smallest[query, rank - 1] > distance[query]:
                    smallest[query, rank] = smallest[query, rank - 1]
                    index[query, rank] = index[query, rank - 1]
                    rank -= 1
                smallest[query, rank], index[query, rank] = distance[query], first_row + row
                limit[query] = smallest[query, last]
