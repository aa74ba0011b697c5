;; Copies header fields of 60 KB through WASI again and again.
(module
  (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.0" "[method]fields.append" (func $append (param i32 i32 i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]fields.clone" (func $clone (param i32) (result i32)))
  (memory (export "memory") 3)
  (global $free (mut i32) (i32.const 8192))
  ;; A bump allocator that never frees: the instance lives for one call.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (data (i32.const 64) "x-long")
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32)
    (local $all i32)
    (local.set $all (call $fields))
    (memory.fill (i32.const 65536) (i32.const 97) (i32.const 60000))
    (call $append (local.get $all) (i32.const 64) (i32.const 6) (i32.const 65536) (i32.const 60000) (i32.const 256))
    (loop $more
      (drop (call $clone (local.get $all)))
      (br $more))
    (unreachable))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
