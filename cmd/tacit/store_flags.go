package main

import (
	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/host"
)

// natsFlags adds the flags of a connection to a store elsewhere.
func natsFlags(cmd *cobra.Command, c *host.StoreConfig) {
	flags := cmd.Flags()
	flags.StringSliceVar(&c.URLs, "nats-url", nil, "servers of an external JetStream, instead of an embedded one: nats://host:4222")
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
	flags.StringSliceVar(&c.Peers, "peers", nil, "host and port of the other servers of the cluster, with commas")
	env(cmd, "nats-listen", "node", "cluster-listen", "peers")
}
