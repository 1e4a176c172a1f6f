package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"
)

// populateLimit bounds the wait for what an object needs first: its kind (a definition is served within a second or
// two) or its namespace's account (made by a controller).
const populateLimit = 30 * time.Second

// newPopulateCommand creates the objects of a List on stdin, with their status.
//
// kubectl cannot write a status in the same step, and starts anew for every object; a lab has no kubelet that would
// write it. What exists already keeps its spec and gets the status.
func newPopulateCommand() *cobra.Command {
	var kubeconfig string
	command := &cobra.Command{
		Use:          "populate --kubeconfig FILE < LIST",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, stop := context.WithTimeout(context.Background(), 4*populateLimit)
			defer stop()
			return populate(ctx, kubeconfig, command.InOrStdin())
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "configuration of an administrator")
	return command
}

// cluster is where the objects go.
type cluster struct {
	objects dynamic.Interface
	kinds   *restmapper.DeferredDiscoveryRESTMapper
	// namespaces that are known to exist
	namespaces map[string]bool
}

func populate(ctx context.Context, kubeconfig string, input io.Reader) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("cannot use the kubeconfig %s: %w", kubeconfig, err)
	}
	// The default of 5 questions a second would make a lab of 200 objects wait for a minute.
	config.QPS, config.Burst = 500, 500
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	discoverer, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	var list unstructured.UnstructuredList
	if err := json.NewDecoder(input).Decode(&list); err != nil {
		return fmt.Errorf("stdin is not a list of objects: %w", err)
	}
	target := &cluster{
		objects:    objects,
		kinds:      restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discoverer)),
		namespaces: map[string]bool{},
	}
	for index := range list.Items {
		if err := target.add(ctx, &list.Items[index]); err != nil {
			item := &list.Items[index]
			return fmt.Errorf("cannot create %s %s/%s: %w", item.GetKind(), item.GetNamespace(), item.GetName(), err)
		}
	}
	return nil
}

// add creates one object, after its namespace, and writes its status.
func (c *cluster) add(ctx context.Context, object *unstructured.Unstructured) error {
	if namespace := object.GetNamespace(); namespace != "" && !c.namespaces[namespace] {
		made := &unstructured.Unstructured{}
		made.SetAPIVersion("v1")
		made.SetKind("Namespace")
		made.SetName(namespace)
		if err := c.create(ctx, made); err != nil {
			return err
		}
		c.namespaces[namespace] = true
	}
	if err := c.create(ctx, object.DeepCopy()); err != nil {
		return err
	}
	if status, has := object.Object["status"]; has {
		return c.writeStatus(ctx, object, status)
	}
	return nil
}

// create waits for what the object needs first; what exists already is left alone.
func (c *cluster) create(ctx context.Context, object *unstructured.Unstructured) error {
	end := time.Now().Add(populateLimit)
	for {
		resource, err := c.resource(object)
		if err == nil {
			_, err = resource.Create(ctx, object, metav1.CreateOptions{})
		}
		if err == nil || apierrors.IsAlreadyExists(err) {
			return nil
		}
		// Not served yet, or refused by the admission of a pod whose account is still to be made.
		waits := meta.IsNoMatchError(err) || apierrors.IsNotFound(err) || apierrors.IsForbidden(err)
		if !waits || time.Now().After(end) {
			return err
		}
		c.kinds.Reset()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *cluster) writeStatus(ctx context.Context, object *unstructured.Unstructured, status any) error {
	resource, err := c.resource(object)
	if err != nil {
		return err
	}
	// Controllers write the object meanwhile.
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		current, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		current.Object["status"] = status
		_, err = resource.UpdateStatus(ctx, current, metav1.UpdateOptions{})
		return err
	})
}

func (c *cluster) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := c.kinds.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	resource := c.objects.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return resource.Namespace(object.GetNamespace()), nil
	}
	return resource, nil
}
