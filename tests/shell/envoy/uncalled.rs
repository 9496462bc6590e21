//! Host functions that the SDK imports and the filter does not call. A new call gets a definition in
//! [`super::hostcalls`] and a line in the tables of [`crate::costs`].

#![allow(unsafe_code, reason = "the SDK links against these names")]

macro_rules! uncalled {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> u32 {
            panic!("the filter calls {}, which this host does not know", stringify!($name))
        }
    )*};
}

uncalled! {
    proxy_add_header_map_value
    proxy_call_foreign_function
    proxy_dequeue_shared_queue
    proxy_done
    proxy_enqueue_shared_queue
    proxy_get_current_time_nanoseconds
    proxy_get_status
    proxy_grpc_call
    proxy_grpc_cancel
    proxy_grpc_close
    proxy_grpc_send
    proxy_grpc_stream
    proxy_register_shared_queue
    proxy_resolve_shared_queue
    proxy_set_buffer_bytes
    proxy_set_header_map_pairs
}
