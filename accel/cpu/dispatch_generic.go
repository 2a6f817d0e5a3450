//go:build !amd64 || purego

package cpu

var implementations = []implementation{portableImplementation}
