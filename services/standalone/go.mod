module hangar/services/standalone

go 1.26.0

require hangar/shared v0.0.0

require hangar/services/gateway v0.0.0

require hangar/services/meta v0.0.0

require hangar/services/blocks v0.0.0

require hangar/services/admin v0.0.0

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/cobra v1.10.2 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
)

replace hangar/shared => ../../shared

replace hangar/services/gateway => ../gateway

replace hangar/services/meta => ../meta

replace hangar/services/blocks => ../blocks

replace hangar/services/admin => ../admin
