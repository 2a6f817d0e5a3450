// Command asmgen writes the assembly of package cpu. It lives in a module of its
// own so that the assembler library is no dependency of the program.
//
// Usage, from package cpu: go generate.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/mmcloughlin/avo/build"
)

func main() {
	set := flag.String("set", "", "the instruction set to write kernels for: avx512 or avx2")
	flag.Parse()
	build.ConstraintExpr("amd64,!purego")
	switch *set {
	case "avx2":
		avx2()
	case "avx512":
		avx512()
	default:
		fmt.Fprintf(os.Stderr, "asmgen: unknown set %q\n", *set)
		os.Exit(2)
	}
	build.Generate()
}
