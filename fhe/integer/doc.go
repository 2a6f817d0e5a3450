// Package integer computes on encrypted booleans and integers.
//
// A value of w bits is w/2 ciphertexts of two message bits each, least
// significant first; a boolean is one ciphertext of 0 or 1. An Evaluator turns
// an operation into linear combinations, which are free, and programmable
// bootstraps, which are what an operation costs. It does not run them itself: it
// hands them to a Bootstrapper, all that do not depend on each other in one
// call.
//
// A ciphertext is clean when its error is that of a bootstrap output or less and
// independent of every other ciphertext. Clean operands cost what Cost predicts.
// The output of Not, and of Select between two ciphertexts, is correct but not
// clean: where it is too noisy for the packed form of the next operation, that
// operation falls back to one that needs more bootstraps.
//
// Four tricks keep the count low. A table on 8 of the 16 boxes holds a second
// function, so that message and carry come from one bootstrap. Sign and zero
// test are negacyclic, so that differences in -15..15, two blocks of either
// operand, are tested at once. Tables scale their outputs, so that four signs
// join with weights 8, 4, 2 and 1 at the noise of a plain sum. And public
// knowledge of a block, from a plaintext operand or from its bounds, removes the
// bootstraps whose outcome it decides.
//
// What may not enter here: running bootstraps (package bootstrap), keys, jobs.
package integer
