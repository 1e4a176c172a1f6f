package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
)

// etcdReadyLimit bounds the wait for the first leader: a single member elects itself within two seconds.
const etcdReadyLimit = 60 * time.Second

// newEtcdCommand serves one etcd member in a folder until SIGTERM.
//
// Clients reach it at unix://FOLDER/client.sock. Nothing is flushed to disk: the folder lives as long as the lab.
func newEtcdCommand() *cobra.Command {
	return &cobra.Command{
		Use:           "etcd FOLDER",
		Args:          cobra.ExactArgs(1),
		SilenceUsage:  true,
		SilenceErrors: false,
		RunE: func(_ *cobra.Command, arguments []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return serveEtcd(ctx, arguments[0])
		},
	}
}

// serveEtcd runs the member, says "etcd ready" on stdout once it answers, and stops it when ctx ends.
func serveEtcd(ctx context.Context, folder string) error {
	member, err := embed.StartEtcd(etcdConfig(folder))
	if err != nil {
		return fmt.Errorf("cannot start etcd in %s: %w", folder, err)
	}
	defer member.Close()
	select {
	case <-member.Server.ReadyNotify():
		fmt.Println("etcd ready")
	case err := <-member.Err():
		return fmt.Errorf("etcd ended before it was ready: %w", err)
	case <-time.After(etcdReadyLimit):
		return errors.New("etcd was not ready in time")
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-member.Err():
		return fmt.Errorf("etcd ended: %w", err)
	}
}

// etcdConfig listens on unix sockets only.
//
// The advertised addresses are never dialled (one member, no other client), but etcd refuses a unix socket there.
func etcdConfig(folder string) *embed.Config {
	config := embed.NewConfig()
	config.Dir = filepath.Join(folder, "data")
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	config.ListenClientUrls = []url.URL{socket(folder, "client.sock")}
	config.ListenPeerUrls = []url.URL{socket(folder, "peer.sock")}
	config.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2379"}}
	config.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2380"}}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	return config
}

// socket is the URL of a unix socket below folder, which is absolute.
func socket(folder, name string) url.URL {
	return url.URL{Scheme: "unix", Path: filepath.Join(folder, name)}
}
