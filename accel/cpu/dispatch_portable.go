package cpu

var implementations = []implementation{portableImplementation}
