package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/host"
)

// natsFlags adds the flags of a connection to a store elsewhere.
func natsFlags(cmd *cobra.Command, c *host.StoreConfig) {
	flags := cmd.Flags()
	flags.Var((*list)(&c.URLs), "nats-url", "servers of an external JetStream, instead of an embedded one, with commas: nats://host:4222")
	flags.StringVar(&c.Creds, "nats-creds", "", "file of credentials for --nats-url, as NATS makes them")
	flags.StringVar(&c.CA, "nats-ca", "", "authority in PEM that the other side's certificate must come from")
	flags.StringVar(&c.Cert, "nats-cert", "", "our certificate towards the store in PEM")
	flags.StringVar(&c.Key, "nats-key", "", "key of --nats-cert in PEM")
	flags.StringVar(&c.SecretFile, "nats-secret-file", "", "file with the secret that embedded servers and processes that connect to them share")
	flags.IntVar(&c.Replicas, "replicas", 0, "servers that keep each record; 0 is 3 in a cluster of embedded servers, else 1")
	env(cmd, "nats-url", "nats-creds", "nats-ca", "nats-cert", "nats-key", "nats-secret-file", "replicas")
}

// memberFlags adds the flags of an embedded server that others reach.
func memberFlags(cmd *cobra.Command, c *host.StoreConfig) {
	flags := cmd.Flags()
	flags.StringVar(&c.Listen, "nats-listen", "", "host and port where other processes reach the embedded server; off if empty")
	flags.StringVar(&c.Node, "node", "", "name of this embedded server in a cluster of them")
	flags.StringVar(&c.ClusterListen, "cluster-listen", "", "host and port where the other servers of the cluster reach this one")
	flags.Var((*list)(&c.Peers), "peers", "host and port of the other servers of the cluster, with commas")
	env(cmd, "nats-listen", "node", "cluster-listen", "peers")
}

// list is a flag with several values, with commas, which are printed as they are given.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Type() string { return "list" }

func (l *list) Set(text string) error {
	*l = nil
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l = append(*l, part)
		}
	}
	return nil
}
