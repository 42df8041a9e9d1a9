module hangar/services/standalone

go 1.26

require hangar/shared v0.0.0
require hangar/services/gateway v0.0.0
require hangar/services/meta v0.0.0
require hangar/services/blocks v0.0.0
require hangar/services/admin v0.0.0

replace hangar/shared => ../../shared
replace hangar/services/gateway => ../gateway
replace hangar/services/meta => ../meta
replace hangar/services/blocks => ../blocks
replace hangar/services/admin => ../admin
