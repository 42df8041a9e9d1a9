module hangar/services/gateway

go 1.26

require hangar/shared v0.0.0

replace hangar/shared => ../../shared
