package workloads

import "slices"

// studies are the programs that comparisons of libraries measure ("New Insights
// into Fully Homomorphic Encryption Libraries via Standardized Benchmarks",
// 2022/425).
var studies = slices.Concat(statistics, distances, inferences, matrices, lookups, checksums, sequences)
