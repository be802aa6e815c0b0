// One binary that holds etcd, the API server and the controller manager of one Kubernetes, chosen by the first
// argument. The same program is built of several versions: each has a go.mod of its own (-modfile).
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	component, arguments := os.Args[1], os.Args[2:]
	var command *cobra.Command
	switch component {
	case "etcd":
		etcdmain.Main(append([]string{"etcd"}, arguments...))
		return
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllermanager.NewControllerManagerCommand()
	default:
		usage()
	}
	os.Args = append([]string{component}, arguments...)
	command.SetArgs(arguments)
	os.Exit(cli.Run(command))
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: control-plane etcd|kube-apiserver|kube-controller-manager [flags]")
	os.Exit(2)
}
