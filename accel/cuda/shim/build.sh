#!/bin/sh
# Builds libcuda.a, which stands in for the library of the NVIDIA driver when a
# program is linked: every function of symbols.txt is a jump into libcuda.so.1, which is
# loaded when the program starts and need not be there. Without it, or without a
# device, there are 0 devices.
#
# usage: build.sh DIR [folder of cuda.h, CUDA 11.8 to 12]
# Prints the settings for a build with -tags cuda:
#     env $(accel/cuda/shim/build.sh /tmp/shim) go build -tags cuda ./cmd/tacit
set -eu
cd "$(dirname "$0")"
out=$1
headers=${2:+"CGO_CFLAGS=-I$2"}
mkdir -p "$out"

{
	cat <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

enum { success = 0, no_device = 100 };

static int missing(void) { return no_device; }
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int present;
static int (*real_count)(int *);

C
	sed 's/.*/__attribute__((visibility("hidden"))) void *shim_& = (void *)missing;/' symbols.txt
	cat <<'C'

static void load(void) {
	void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), *f;
	if (!library) return;
	int (*real_init)(unsigned) = (int (*)(unsigned))dlsym(library, "cuInit");
	real_count = (int (*)(int *))dlsym(library, "cuDeviceGetCount");
	if (!real_init || !real_count || real_init(0) != success) return;
	present = 1;
C
	sed 's/.*/\tif ((f = dlsym(library, "&"))) shim_& = f;/' symbols.txt
	cat <<'C'
}

/* gorgonia.org/cu ends the program when cuInit fails, so it does not. */
int cuInit(unsigned flags) {
	pthread_once(&once, load);
	return success;
}

int cuDeviceGetCount(int *count) {
	pthread_once(&once, load);
	*count = 0;
	return present ? real_count(count) : success;
}

#if defined(__x86_64__)
#define JUMP(name) "jmp *shim_" #name "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(name) "adrp x16, shim_" #name "\nldr x16, [x16, :lo12:shim_" #name "]\nbr x16\n"
#endif
#define FORWARD(name) __asm__(".text\n.globl " #name "\n.type " #name ", %function\n" #name ":\n" JUMP(name))

C
	sed 's/.*/FORWARD(&);/' symbols.txt
} >"$out/shim.c"
${CC:-cc} -O2 -fPIC -Wall -c "$out/shim.c" -o "$out/shim.o"
rm -f "$out/libcuda.a"
${AR:-ar} rcs "$out/libcuda.a" "$out/shim.o"
echo ${headers:+"$headers"} "CGO_LDFLAGS=-L$(cd "$out" && pwd)" CGO_ENABLED=1
