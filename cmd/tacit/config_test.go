package main

import "testing"

func TestMasked(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"listen", "127.0.0.1:7400", "127.0.0.1:7400"},
		{"data", "/var/lib/tacit", "/var/lib/tacit"},
		{"token", "abc", mask},
		{"nats-password", "abc", mask},
		{"nats-password", "", ""},
		{"token-file", "/etc/token", "/etc/token"},
		{"nats-url", "nats://host:4222", "nats://host:4222"},
		{"nats-url", "nats://user:pa@ss@host:4222", "nats://user:" + mask + "@host:4222"},
		{"nats-url", "nats://token@host:4222", "nats://" + mask + "@host:4222"},
		{"nats-url", "nats://a:b@h1,nats://h2,nats://c:d@h3", "nats://a:" + mask + "@h1,nats://h2,nats://c:" + mask + "@h3"},
		{"nats-url", "nats://user:%zz@host", "nats://" + mask + "@host"},
	} {
		if got := masked(c.name, c.value); got != c.want {
			t.Errorf("%s = %s: %s, want %s", c.name, c.value, got, c.want)
		}
	}
}
