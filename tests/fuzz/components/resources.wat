;; A resource with a destructor, borrowed and owned, and imports of an instance's type.
(component
  (import "tidegate:destination/http@0.1.0" (instance $http (export "pending" (type (sub resource)))))
  (alias export $http "pending" (type $pending))
  (core module $m (func (export "dtor") (param i32)))
  (core instance $i (instantiate $m))
  (type $thing (resource (rep i32) (dtor (func $i "dtor"))))
  (type (func (param "t" (own $thing)) (result (option (borrow $pending)))))
  (core func (canon resource.new $thing))
  (core func (canon resource.drop $thing))
  (core func (canon resource.drop $pending)))
