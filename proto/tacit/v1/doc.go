// Package tacitv1 is the wire form of Tacit: the messages and the gRPC service of tacit.v1.
//
// Everything here but this file is generated from the .proto files of this directory by ../../generate.sh, which also
// checks them. The package imports nothing else of the module and holds no logic: coprocessor/graph gives a job its
// meaning, and package coprocessor serves it.
package tacitv1

//go:generate sh ../../generate.sh
