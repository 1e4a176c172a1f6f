//! Builds an EKS-shaped VPC in network namespaces from a snapshot; the kernel decides.
