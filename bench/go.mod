module hangar/bench

go 1.26

require hangar/shared v0.0.0
require hangar/services/gateway v0.0.0

replace hangar/shared => ../shared
replace hangar/services/gateway => ../services/gateway
