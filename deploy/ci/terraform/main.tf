# Calls the gate after each apply that changes the rules of a group. `gate before` was run before it:
#
#   ../gate before -- --cluster demo --listen 7443 && terraform apply
#
# An apply fails with the exit code of the gate; the change stays applied, and the report says how to take it back.
terraform {
  required_version = ">= 1.4"
}

variable "cluster" {
  description = "Name of the EKS cluster."
  type        = string
}

variable "listen" {
  description = "Address and port on which agents are awaited."
  type        = string
  default     = "7443"
}

variable "rules" {
  description = "What the gate is run for when it changes: ids of the security group rules of this configuration, for example."
  type        = map(string)
  default     = {}
}

resource "terraform_data" "gate" {
  triggers_replace = var.rules

  provisioner "local-exec" {
    command = "\"$GATE\" after -- --cluster \"$CLUSTER\" --listen \"$LISTEN\""
    # By environment: a name is never part of a command.
    environment = {
      GATE           = "${path.module}/../gate"
      CLUSTER        = var.cluster
      LISTEN         = var.listen
      GATE_DIRECTORY = "${path.root}/reachproof-gate"
    }
  }
}
