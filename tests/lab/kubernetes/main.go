// Controlplane is every part of a Kubernetes control plane that the lab needs, in one binary.
//
// It adds little to Kubernetes: but for `etcd` and `populate`, each subcommand is the upstream program with its own
// flags, so that what the lab dials, reviews and refuses is what a real API server dials, reviews and refuses. `etcd`
// is started through its embedding interface, on a unix socket: API servers in different network namespaces then
// share it without any link between them.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// parts makes the command of each subcommand; only the one asked for is made.
var parts = map[string]func() *cobra.Command{
	"etcd":               newEtcdCommand,
	"apiserver":          func() *cobra.Command { return apiserver.NewAPIServerCommand() },
	"controller-manager": func() *cobra.Command { return controllermanager.NewControllerManagerCommand() },
	"populate":           newPopulateCommand,
	"scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

func main() {
	if len(os.Args) < 2 {
		refuse("no part named")
	}
	part := os.Args[1]
	os.Args = append([]string{part}, os.Args[2:]...)
	if part == "kubectl" {
		// kubectl reports its own errors in the form that its users know.
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	command, known := parts[part]
	if !known {
		refuse(fmt.Sprintf("no part is called %q", part))
	}
	os.Exit(cli.Run(command()))
}

// refuse ends the program with the exit code of wrong usage.
func refuse(why string) {
	fmt.Fprintf(os.Stderr, "%s: name one of etcd, apiserver, controller-manager, scheduler, populate, kubectl\n", why)
	os.Exit(2)
}
